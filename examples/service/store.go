package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

// What became of a conversation, and how far an erasure is.
const (
	deleted                        = "deleted"     // the server said so
	gone                           = "gone"        // was in doubt, and is not there any more
	notListed                      = "notListed"   // the server answered and deleted nothing under this id
	stillThere                     = "stillThere"  // was in doubt; the server has it and does not delete it
	unconfirmed                    = "unconfirmed" // open: it may be deleted
	pending                        = "pending"     // open: it is not deleted
	queued, running, waiting, done = "queued", "running", "waiting", "done"
)

var errNotOwned = errors.New("another run owns this erasure now")

type store struct{ *database }

type erasure struct {
	ID            string              `json:"id"`
	Account       string              `json:"account"`
	State         string              `json:"state"`
	Reason        string              `json:"reason,omitempty"`
	Conversations map[string][]string `json:"conversations"` // by what became of them
}

// create stores an erasure, or finds that of the same key, and calls enqueue in the same transaction.
func (s store) create(ctx context.Context, request *erasureRequest, enqueue func(*sql.Tx, string) error) (id string, err error) {
	ids, _ := json.Marshal(slices.Compact(slices.Sorted(slices.Values(request.ConversationIDs)))) // Strings never fail.
	fingerprint := fmt.Sprintf("%x", sha256.Sum256([]byte(request.Account+"\n"+string(ids))))
	id = rand.Text()
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		inserted, err := tx.ExecContext(ctx, `INSERT INTO erasures (id, idempotency_key, fingerprint, account, state, reason, run)
			VALUES ($1, $2, $3, $4, $5, '', 0) ON CONFLICT (idempotency_key) DO NOTHING`,
			id, request.key, fingerprint, request.Account, queued)
		if err != nil {
			return err
		}
		if rows, _ := inserted.RowsAffected(); rows == 0 { // Both drivers count.
			var stored string
			row := tx.QueryRowContext(ctx, "SELECT id, fingerprint FROM erasures WHERE idempotency_key = $1", request.key)
			if err = row.Scan(&id, &stored); err == nil && stored != fingerprint {
				return errKeyReused
			}
		} else {
			_, err = tx.ExecContext(ctx, `INSERT INTO conversations (erasure_id, id, fate, sent_by, doubt)
				SELECT $1, value, 'open', 0, FALSE FROM `+s.values, id, string(ids))
		}
		return cmp.Or(err, enqueue(tx, id)) // Its former job may be lost.
	})
	return id, err
}

// find returns an erasure with what is known of each id, or sql.ErrNoRows.
func (s store) find(ctx context.Context, id string) (*erasure, error) {
	lists := map[string][]string{deleted: {}, gone: {}, notListed: {}, stillThere: {}, unconfirmed: {}, pending: {}}
	e := &erasure{ID: id, Conversations: lists}
	row := s.QueryRowContext(ctx, "SELECT account, state, reason FROM erasures WHERE id = $1", id)
	if err := row.Scan(&e.Account, &e.State, &e.Reason); err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, `SELECT id, CASE WHEN fate <> 'open' THEN fate WHEN doubt OR sent_by <> 0 THEN 'unconfirmed' ELSE 'pending' END
		FROM conversations WHERE erasure_id = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var conversation, fate string
		if err := rows.Scan(&conversation, &fate); err != nil {
			return nil, err
		}
		e.Conversations[fate] = append(e.Conversations[fate], conversation)
	}
	return e, rows.Err()
}

// run is one try at an erasure. The newest one owns it.
type run struct {
	store
	erasure, account string
	number           int64
}

// claim starts a run, or returns sql.ErrNoRows if the erasure is done. What an earlier
// run sent and did not settle is in doubt from now on.
func (s store) claim(ctx context.Context, id string) (*run, error) {
	r := &run{store: s, erasure: id}
	return r, s.inTx(ctx, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx,
			"UPDATE erasures SET run = run + 1, state = $1, reason = '' WHERE id = $2 AND state <> $3 RETURNING account, run", running, id, done)
		if err := row.Scan(&r.account, &r.number); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE conversations SET doubt = TRUE, sent_by = 0 WHERE erasure_id = $1 AND sent_by <> 0", id)
		return err
	})
}

// note commits that this run is about to send ids, so that the next one knows if this one dies.
func (r *run) note(ctx context.Context, ids []string) error {
	return r.commit(ctx, nil, func(ctx context.Context, tx *sql.Tx) error { return r.set(ctx, tx, ids, "sent_by = $3", r.number) })
}

// settle commits what became of ids that were sent.
func (r *run) settle(ctx context.Context, result *memoryplugin.DeleteConversationsResult) error {
	return r.commit(ctx, result.Deleted, func(ctx context.Context, tx *sql.Tx) error {
		return cmp.Or(
			r.set(ctx, tx, result.Unconfirmed, "doubt = TRUE"),
			r.set(ctx, tx, result.NotListed, "fate = CASE WHEN doubt THEN fate ELSE $3 END", notListed),
			r.set(ctx, tx, slices.Concat(result.Unconfirmed, result.NotListed, result.NotDeleted), "sent_by = 0"),
		)
	})
}

// settleVerified commits what became of ids that were in doubt.
func (r *run) settleVerified(ctx context.Context, result *memoryplugin.VerifyResult) error {
	return r.commit(ctx, nil, func(ctx context.Context, tx *sql.Tx) error {
		return cmp.Or(
			r.set(ctx, tx, result.Gone, "fate = $3", gone),
			r.set(ctx, tx, result.Present, "fate = $3", stillThere),
		)
	})
}

// end commits how far the erasure is when the run ends.
func (r *run) end(ctx context.Context, state, reason string) error {
	return r.commit(ctx, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE erasures SET state = $1, reason = $2 WHERE id = $3", state, reason, r.erasure)
		return err
	})
}

// commit runs f in a transaction if this run owns the erasure, and keeps confirmed deletions in any case.
func (r *run) commit(ctx context.Context, confirmed []string, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // The job's time may be over.
	defer cancel()
	var owner int64
	err := r.inTx(ctx, func(tx *sql.Tx) error {
		// An update, since it locks the row on both engines.
		row := tx.QueryRowContext(ctx, "UPDATE erasures SET run = run WHERE id = $1 RETURNING run", r.erasure)
		err := row.Scan(&owner)
		if err == nil && owner == r.number {
			err = f(ctx, tx)
		}
		return cmp.Or(err, r.set(ctx, tx, confirmed, "fate = $3, sent_by = 0", deleted))
	})
	if err == nil && owner != r.number {
		return errNotOwned
	}
	return err
}

// set changes the rows of ids, but for those that are confirmed to be deleted.
func (r *run) set(ctx context.Context, tx *sql.Tx, ids []string, assignment string, value ...any) error {
	if len(ids) == 0 {
		return nil
	}
	encoded, _ := json.Marshal(ids)
	_, err := tx.ExecContext(ctx, "UPDATE conversations SET "+assignment+
		" WHERE erasure_id = $1 AND fate <> 'deleted' AND id IN (SELECT value FROM "+r.values+")",
		append([]any{r.erasure, string(encoded)}, value...)...)
	return err
}
