package backend

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/memoryplugin/memoryplugin-go"
)

type result = memoryplugin.DeleteConversationsResult

// Of three ids, "gone" was deleted, "there" is there, and "never" never was.
func newJudge(t *testing.T) *Backend {
	t.Helper()
	b := New(nil)
	t.Cleanup(b.Close)
	b.Add("gone", "there")
	b.apply([]string{"gone"})
	return b
}

var all = []string{"gone", "there", "never"}

func TestTheTruthIsNoFalsehood(t *testing.T) {
	for name, said := range map[string]result{
		"all is known":   {Deleted: []string{"gone"}, NotDeleted: []string{"there"}, NotListed: []string{"never"}},
		"all is refused": {Deleted: []string{"gone"}, NotDeleted: []string{"there", "never"}},
		"all is unknown": {Unconfirmed: all},
	} {
		t.Run(name, func(t *testing.T) {
			b := newJudge(t)

			b.Judge(all, &said)

			assert.Empty(t, b.Falsehoods())
		})
	}
}

func TestEachFalsehoodIsFound(t *testing.T) {
	for name, said := range map[string]result{
		"there, but said to be deleted":       {Deleted: []string{"gone", "there"}, Unconfirmed: []string{"never"}},
		"never there, but said to be deleted": {Deleted: []string{"gone", "never"}, Unconfirmed: []string{"there"}},
		"deleted, but said not to be":         {NotDeleted: []string{"gone"}, Unconfirmed: []string{"there", "never"}},
		"deleted, but said not to be listed":  {NotListed: []string{"gone"}, Unconfirmed: []string{"there", "never"}},
		"there, but said not to be listed":    {NotListed: []string{"there"}, Unconfirmed: []string{"gone", "never"}},
		"lost":                                {Unconfirmed: []string{"gone", "there"}},
		"in two lists":                        {Deleted: []string{"gone"}, Unconfirmed: []string{"gone", "there", "never"}},
		"in one list for another":             {Deleted: []string{"gone"}, Unconfirmed: []string{"gone", "there"}},
		"out of order":                        {Unconfirmed: []string{"there", "gone", "never"}},
		"not requested":                       {Unconfirmed: []string{"gone", "there", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newJudge(t)

			b.Judge(all, &said)

			assert.NotEmpty(t, b.Falsehoods())
		})
	}
}

func TestADeletionBeliesAnEarlierNotDeleted(t *testing.T) {
	b := newJudge(t)
	b.Judge([]string{"there"}, &result{NotDeleted: []string{"there"}})
	b.Forget("there")

	b.apply([]string{"there"})

	assert.Len(t, b.Falsehoods(), 1)
}

func TestWhatIsThereIsNotGone(t *testing.T) {
	b := newJudge(t)

	b.JudgeGone("gone", "never")
	assert.Empty(t, b.Falsehoods())
	b.JudgeGone("there")
	assert.Len(t, b.Falsehoods(), 1)
}
