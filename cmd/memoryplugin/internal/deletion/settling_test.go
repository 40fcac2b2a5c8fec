package deletion_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

func TestALostReplyIsSettledAsGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = script(lose)
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assertComplete(t, summary)
		assert.Equal(t, 1, summary.Gone)
		assert.Empty(t, r.waits)
		assert.Equal(t, []journal.State{journal.Sent, journal.Unconfirmed, journal.Gone}, r.states("a"))
	})
}

func TestAnIDThatNoListingHadIsSettledAsAbsent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("other")
		r := newRun(t, srv.impatient(t))

		summary := r.finish(byHand("typo")...)

		assertComplete(t, summary)
		assert.Equal(t, 1, summary.Absent)
		assert.Equal(t, []journal.State{journal.Sent, journal.NotListed, journal.Absent}, r.states("typo"))
	})
}

func TestAnIDThatAVerificationHasSeenIsSettledAsGoneLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = script(drop, lose)
		r := newRun(t, srv.impatient(t))

		summary := r.finish(byHand("a")...)

		assert.Equal(t, 1, summary.Gone)
		assert.Equal(t, []journal.State{
			journal.Sent, journal.Unconfirmed, journal.Kept, journal.Sent, journal.Unconfirmed, journal.Gone,
		}, r.states("a"))
	})
}

func TestWhatIsStillThereIsSentAgainWhilePatienceLasts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = func(_ int, r *request) step {
			if r.isDeletion() && len(srv.deletions()) > 1 {
				return unlisted
			}
			return nil
		}
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = 20 * time.Second

		summary := r.finish(listed("a", "b")...)

		assert.Equal(t, seconds(0, 0, 5, 15, 20), srv.deletions())
		assert.Equal(t, 1, summary.Kept)
		assert.Equal(t, []string{"b"}, left(summary, deletion.StillThere))
		assert.Equal(t, journal.Kept, r.lastRecord("b").State)
		assert.Equal(t, "some are still there", r.waits[0].why)
	})
}

func TestAConversationThatAListHidesIsNotTakenForGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer()
		srv.hidden = []string{"a"}
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = 0

		summary := r.finish(listed("a")...)

		assert.Equal(t, []string{"a"}, left(summary, deletion.StillThere))
	})
}

func TestWhatCannotBeSettledStaysAsItIs(t *testing.T) {
	for name, test := range map[string]struct {
		deletion step
		want     []journal.State
		status   int // of what it is left for
	}{
		"a lost reply": {lose, []journal.State{journal.Sent, journal.Unconfirmed}, 0},
		"not listed":   {unlisted, []journal.State{journal.Sent, journal.NotListed}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = both(reads(refuse(404)), always(test.deletion))
				r := newRun(t, srv.impatient(t))
				r.Patience.Limit = 0

				summary := r.finish(listed("a")...)

				assert.Equal(t, []string{"a"}, left(summary, deletion.Unanswered))
				assert.Equal(t, 1, summary.Unconfirmed)
				assert.Equal(t, test.status, summary.Left[0].Status)
				assert.Equal(t, test.want, r.states("a"))
			})
		})
	}
}

func TestALostReplyIsSentAgainEvenIfTheServerCannotVerify(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = both(reads(refuse(404)), script(drop))
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assertComplete(t, summary)
		assert.Equal(t, seconds(0, 5), srv.deletions())
	})
}

func TestWhatTheServerDoesNotListIsNotSentForeverIfItCannotVerify(t *testing.T) {
	for name, test := range map[string]struct {
		steps []step
		sent  []time.Duration
	}{
		"never listed":         {[]step{unlisted}, seconds(0)},
		"after a lost reply":   {[]step{lose, unlisted}, seconds(0, 5)},
		"a proxy's login page": {[]step{loginPage}, seconds(0)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = both(reads(refuse(404)), script(test.steps...))
				r := newRun(t, srv.impatient(t))

				summary := r.finish(listed("a")...)

				assert.Equal(t, test.sent, srv.deletions())
				assert.Equal(t, 1, summary.Unconfirmed)
			})
		})
	}
}

func TestAVerificationThatFailsForAWhileIsMadeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		reading := 0
		srv.answer = both(script(lose), func(int, *request) step {
			if reading++; reading < 3 {
				return refuse(503)
			}
			return nil
		})
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assertComplete(t, summary)
		assert.Equal(t, 1, summary.Gone)
		assert.NotEmpty(t, r.waits)
	})
}

func TestWhatAVerificationFindsOutBeforeItFailsIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = both(always(unlisted), func(_ int, r *request) step {
			if r.URL.Query().Get("conversationId") == "b" {
				return refuse(400)
			}
			return nil
		})
		srv.ids = []string{"a"} // And b is gone.
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = 0

		summary := r.finish(listed("a", "b", "c")...)

		assert.Equal(t, []string{"a"}, left(summary, deletion.StillThere))
		assert.Equal(t, []string{"b"}, left(summary, deletion.Unanswered))
		assert.Equal(t, 1, summary.Gone)
	})
}

func TestNothingIsVerifiedThatNeedsNot(t *testing.T) {
	for name, step := range map[string]step{"deleted": serve, "refused": refuse(400)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = always(step)
				r := newRun(t, srv.impatient(t))

				r.finish(listed("a")...)

				assert.Len(t, srv.arrived(anyRequest), 1)
			})
		})
	}
}

func TestWithoutVerificationNoDoubtIsSettled(t *testing.T) {
	for name, test := range map[string]struct {
		steps  []step
		states []journal.State
		text   string
	}{
		"not listed": {
			[]step{unlisted}, []journal.State{journal.Sent, journal.NotListed},
			"the server answered, but did not list it",
		},
		"a lost reply, then not listed": {
			[]step{lose}, []journal.State{journal.Sent, journal.Unconfirmed, journal.Sent, journal.Unconfirmed},
			"an earlier request may have deleted it, and the server did not list it now",
		},
		"a lost reply, then a 400": {
			[]step{lose, refuse(400)}, []journal.State{journal.Sent, journal.Unconfirmed, journal.Sent, journal.Unconfirmed},
			"an earlier request may have deleted it, and now: 400",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = script(test.steps...)
				r := newRun(t, srv.impatient(t))
				r.NoVerify = true

				summary := r.finish(listed("a")...)

				assert.Equal(t, 1, summary.Unconfirmed)
				require.Len(t, summary.Left, 1)
				assert.Equal(t, deletion.Unanswered, summary.Left[0].Reason)
				assert.Contains(t, summary.Left[0].Error, test.text)
				assert.Equal(t, test.states, r.states("a"))
				assert.Len(t, srv.deletions(), len(srv.arrived(anyRequest)))
			})
		})
	}
}

func TestAnAnswerThatCannotBeReadIsSentAgain(t *testing.T) {
	for name, noVerify := range map[string]bool{"verified": false, "not verified": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = script(loginPage)
				r := newRun(t, srv.impatient(t))
				r.NoVerify = noVerify

				assertComplete(t, r.finish(listed("a")...))
				assert.Equal(t, seconds(0, 5), srv.deletions())
			})
		})
	}
}

// The SDK lists as deleted what such an answer names, with an error.
func TestAnAnswerThatContradictsItselfConfirmsNothing(t *testing.T) {
	for name, body := range map[string]map[string]any{
		"a count of 0": {"deleted": []string{"a"}, "count": 0},
		"an error":     {"deleted": []string{"a"}, "count": 1, "error": "rolled back"},
		"a stranger":   {"deleted": []string{"a", "b"}, "count": 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = script(func(_ *server, r *request) (*http.Response, error) {
					r.read()
					return reply(http.StatusOK, body), nil
				})
				r := newRun(t, srv.impatient(t))
				r.Patience.Limit = 0

				summary := r.finish(listed("a")...)

				assert.Equal(t, []string{"a"}, left(summary, deletion.StillThere))
				assert.Equal(t, []journal.State{journal.Sent, journal.Unconfirmed, journal.Kept}, r.states("a"))
			})
		})
	}
}

func TestARunEndsBeforeTheNextChunkIfItIsNotReady(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := strings.Fields(strings.Repeat("x ", 100))
		for i := range ids {
			ids[i] += fmt.Sprint(i)
		}
		srv := newServer(ids...)
		r := newRun(t, srv.impatient(t))
		chunks := 0
		r.Ready = func() error {
			if chunks++; chunks > 1 {
				return errors.New("the backup is gone")
			}
			return nil
		}

		summary := r.finish(listed(ids...)...)

		assert.Equal(t, 48, summary.Deleted)
		require.Len(t, summary.Left, 1)
		assert.Equal(t, deletion.NotSent, summary.Left[0].Reason)
		assert.Equal(t, "the backup is gone", summary.Left[0].Error)
		assert.Equal(t, journal.NotDeleted, r.lastRecord("x99").State)
	})
}

// inDoubt is a conversation that an earlier run may have deleted.
func inDoubt(id string) deletion.Conversation {
	return deletion.Conversation{ID: id, WasListed: true, InDoubt: true}
}

func TestAConversationThatAnEarlierRunMayHaveDeletedIsNeverNotDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		ids      []string
		answer   func(int, *request) step
		noVerify bool
		want     deletion.Summary
	}{
		"it is there":                     {[]string{"a"}, nil, false, deletion.Summary{Deleted: 1}},
		"it is gone":                      {nil, nil, false, deletion.Summary{Gone: 1}},
		"it is gone, nobody looks":        {nil, nil, true, deletion.Summary{Unconfirmed: 1}},
		"it is there, and refused":        {[]string{"a"}, always(refuse(400)), false, deletion.Summary{Kept: 1}},
		"it is gone, and refused":         {nil, always(refuse(400)), false, deletion.Summary{Gone: 1}},
		"refused, nobody looks":           {nil, always(refuse(400)), true, deletion.Summary{Unconfirmed: 1}},
		"refused, and never settled":      {nil, both(reads(refuse(404)), always(refuse(400))), false, deletion.Summary{Unconfirmed: 1}},
		"it was not listed, nor settled":  {nil, reads(refuse(404)), false, deletion.Summary{Unconfirmed: 1}},
		"the key is refused":              {nil, always(refuse(401)), false, deletion.Summary{Unconfirmed: 1}},
		"there is never a connection":     {nil, always(down), true, deletion.Summary{Unconfirmed: 1}},
		"there is a connection for reads": {nil, always(down), false, deletion.Summary{Gone: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer(test.ids...)
				srv.answer = test.answer
				r := newRun(t, srv.impatient(t))
				r.NoVerify = test.noVerify

				got := r.finish(inDoubt("a"))

				assert.Equal(t, test.want, deletion.Summary{
					Deleted: got.Deleted, Gone: got.Gone, Absent: got.Absent,
					Kept: got.Kept, Unconfirmed: got.Unconfirmed, NotDeleted: got.NotDeleted,
				})
				assert.NotContains(t, r.states("a"), journal.NotDeleted)
				assert.NotContains(t, r.states("a"), journal.NotListed)
			})
		})
	}
}

var errNoCopy = errors.New("it could not be copied: 500 Internal Server Error")

func TestWhatIsWithheldIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		r := newRun(t, srv.impatient(t))

		summary := r.finish(deletion.Conversation{ID: "a", WasListed: true, Withheld: errNoCopy}, listed("b")[0])

		assert.Equal(t, []string{"a"}, srv.remaining())
		assert.Equal(t, []string{"a"}, left(summary, deletion.NotSent))
		assert.Equal(t, errNoCopy.Error(), summary.Left[0].Error)
		assert.Equal(t, []journal.State{journal.NotDeleted}, r.states("a"))
		assert.Equal(t, "not sent: "+errNoCopy.Error(), r.lastRecord("a").Error)
	})
}

func TestWhatIsWithheldIsNotSentEvenIfTheFailureOfItsCopyMayPass(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = script(refuse(429))
		r := newRun(t, srv.impatient(t))

		r.finish(deletion.Conversation{ID: "a", Withheld: noSuchHost}, listed("b")[0])

		assert.Equal(t, [][]string{{"b"}, {"b"}}, srv.sentIDs())
	})
}

func TestWhatIsWithheldAndInDoubtStaysInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		r := newRun(t, srv.impatient(t))

		summary := r.finish(deletion.Conversation{ID: "a", InDoubt: true, Withheld: errNoCopy})

		assert.Equal(t, []string{"a"}, srv.remaining())
		assert.Equal(t, []string{"a"}, left(summary, deletion.Unanswered))
		assert.Contains(t, summary.Left[0].Error, errNoCopy.Error())
		assert.Empty(t, r.states("a"), "the journal has it as what it is")
	})
}

// missing is a conversation that has no transcript to copy.
func missing(id string) deletion.Conversation {
	return deletion.Conversation{ID: id, WasListed: true, IsMissing: true}
}

func TestWhatIsMissingIsSettledWithoutBeingSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("other")
		r := newRun(t, srv.impatient(t))

		summary := r.finish(missing("a"), deletion.Conversation{ID: "b", IsMissing: true})

		assertComplete(t, summary)
		assert.Equal(t, 1, summary.Gone)
		assert.Equal(t, 1, summary.Absent)
		assert.Empty(t, srv.deletions())
		assert.Equal(t, []journal.State{journal.Gone}, r.states("a"))
	})
}

func TestWhatIsMissingButThereIsKeptWithoutBeingSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		r := newRun(t, srv.impatient(t))

		summary := r.finish(missing("a"))

		assert.Empty(t, srv.deletions())
		assert.Empty(t, r.waits)
		assert.Equal(t, []string{"a"}, left(summary, deletion.StillThere))
		assert.Contains(t, summary.Left[0].Error, "no transcript")
		assert.Equal(t, journal.Kept, r.lastRecord("a").State)
	})
}

func TestWhatIsMissingIsVerifiedAgainIfThatFailsForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer()
		srv.answer = outage(srv, 0, 12*time.Second, refuse(503))
		r := newRun(t, srv.impatient(t))

		summary := r.finish(missing("a"))

		assertComplete(t, summary)
		assert.Empty(t, srv.deletions())
		assert.Len(t, r.waits, 2)
	})
}

func TestWhatIsMissingAndNeverSettledWasNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		r := newRun(t, srv.impatient(t))
		r.NoVerify = true

		summary := r.finish(missing("a"))

		assert.Empty(t, srv.arrived(anyRequest))
		assert.Equal(t, []string{"a"}, left(summary, deletion.NotSent))
		assert.Equal(t, 1, summary.NotDeleted)
		assert.Equal(t, []journal.State{journal.NotDeleted}, r.states("a"))
		assert.Contains(t, r.lastRecord("a").Error, "no transcript")
	})
}
