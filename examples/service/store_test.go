package main

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/memoryplugin/memoryplugin-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newErasure returns a store with one erasure of the ids.
func newErasure(t *testing.T, s settings, ids ...string) (store, string) {
	t.Helper()
	db, err := openDatabase(t.Context(), s.databaseURL, s.sqlite)
	require.NoError(t, err)
	t.Cleanup(db.close)
	require.NoError(t, db.migrate(t.Context()))
	id, err := store{db}.create(t.Context(), &erasureRequest{Account: "alice", ConversationIDs: ids, key: sql.NullString{String: "key", Valid: true}}, func(*sql.Tx, string) error { return nil })
	require.NoError(t, err)
	return store{db}, id
}

func TestSQLiteHasOneWriterWhoWaits(t *testing.T) {
	t.Parallel()
	s := testSettings(t, "")
	db, err := openDatabase(t.Context(), "", s.sqlite)
	require.NoError(t, err)
	defer db.close()
	var journal string
	var patience int

	require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&journal))
	require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&patience))

	assert.Equal(t, 1, db.Stats().MaxOpenConnections)
	assert.Equal(t, "wal", journal)
	assert.Equal(t, 10_000, patience)
}

func TestInstancesThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	url := postgresDatabase(t)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			db, err := openDatabase(t.Context(), url, "")
			if assert.NoError(t, err) {
				defer db.close()
				assert.NoError(t, db.migrate(t.Context()))
			}
		})
	}
	group.Wait()
}

func fates(t *testing.T, s store, id string) map[string]string {
	t.Helper()
	e, err := s.find(t.Context(), id)
	require.NoError(t, err)
	found := map[string]string{}
	for fate, ids := range e.Conversations {
		for _, id := range ids {
			found[id] = fate
		}
	}
	return found
}

func TestNotedIDIsInDoubtForTheNextRun(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		db, id := newErasure(t, s, "noted", "not noted")
		first, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, first.note(t.Context(), []string{"noted"}))
		// The process dies here.

		second, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		both := []string{"noted", "not noted"}
		require.NoError(t, second.note(t.Context(), both))
		require.NoError(t, second.settle(t.Context(), &memoryplugin.DeleteConversationsResult{NotListed: both}))

		assert.Equal(t, map[string]string{"noted": unconfirmed, "not noted": notListed}, fates(t, db, id))
	})
}

func TestRunThatWasOvertakenSettlesDeletionsAlone(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		ids := []string{"a", "b", "c", "d"}
		db, id := newErasure(t, s, append(ids, "not sent")...)
		first, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, first.note(t.Context(), ids))
		second, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, second.settleVerified(t.Context(), &memoryplugin.VerifyResult{Gone: []string{"b"}, Present: []string{"d"}}))

		err = first.settle(t.Context(), &memoryplugin.DeleteConversationsResult{
			Deleted: []string{"a", "b"}, NotListed: []string{"c"}, NotDeleted: []string{"d"},
		})
		assert.ErrorIs(t, err, errNotOwned)
		assert.ErrorIs(t, first.note(t.Context(), []string{"not sent"}), errNotOwned)
		assert.ErrorIs(t, first.end(t.Context(), done, ""), errNotOwned)
		assert.Equal(t, map[string]string{
			"a": deleted, "b": deleted, "c": unconfirmed, "d": stillThere, "not sent": pending,
		}, fates(t, db, id))
		e, err := db.find(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, running, e.State)
	})
}

func TestConfirmedDeletionIsNeverTakenBack(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		db, id := newErasure(t, s, "a")
		r, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, r.settle(t.Context(), &memoryplugin.DeleteConversationsResult{Deleted: []string{"a"}}))

		require.NoError(t, r.settle(t.Context(), &memoryplugin.DeleteConversationsResult{NotListed: []string{"a"}}))
		require.NoError(t, r.settleVerified(t.Context(), &memoryplugin.VerifyResult{Present: []string{"a"}}))

		assert.Equal(t, map[string]string{"a": deleted}, fates(t, db, id))
	})
}

func TestWhatARunLearntIsCommittedEvenIfItsTimeIsOver(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		db, id := newErasure(t, s, "a", "b", "c", "d")
		r, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		over, cancel := context.WithCancel(t.Context())
		cancel()

		require.NoError(t, r.note(over, []string{"a", "b", "c"}))
		require.NoError(t, r.settle(over, &memoryplugin.DeleteConversationsResult{Deleted: []string{"a"}, NotListed: []string{"b"}, Unconfirmed: []string{"c"}}))
		require.NoError(t, r.settleVerified(over, &memoryplugin.VerifyResult{Gone: []string{"c"}}))
		require.NoError(t, r.end(over, waiting, "time"))

		assert.Equal(t, map[string]string{"a": deleted, "b": notListed, "c": gone, "d": pending}, fates(t, db, id))
		e, err := db.find(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, waiting, e.State)
	})
}

func TestFinishedErasureIsNotClaimed(t *testing.T) {
	onEngines(t, func(t *testing.T, s settings) {
		db, id := newErasure(t, s, "a")
		r, err := db.claim(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, r.end(t.Context(), done, ""))

		_, err = db.claim(t.Context(), id)

		require.ErrorIs(t, err, sql.ErrNoRows)
	})
}
