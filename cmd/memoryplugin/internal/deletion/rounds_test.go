package deletion_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/deletion"
	"github.com/memoryplugin/memoryplugin-go/cmd/memoryplugin/internal/journal"
)

func seconds(n ...int) []time.Duration {
	var times []time.Duration
	for _, s := range n {
		times = append(times, time.Duration(s)*time.Second)
	}
	return times
}

// outage has no connection to the server from one time to another.
func outage(s *server, from, to time.Duration, how step) func(int, *request) step {
	return func(_ int, r *request) step {
		if now := time.Since(s.start); now >= from && now < to {
			return how
		}
		return nil
	}
}

func TestWhatMayPassIsSentAgainAfterGrowingWaits(t *testing.T) {
	for name, failure := range map[string]step{
		"503":           refuse(503),
		"429":           refuse(429),
		"a lost reply":  drop,
		"no connection": down,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = script(failure, failure, failure, failure, failure, failure)
				r := newRun(t, srv.impatient(t))

				summary := r.finish(listed("a")...)

				assertComplete(t, summary)
				assert.Equal(t, seconds(0, 5, 15, 35, 75, 135, 195), srv.deletions())
			})
		})
	}
}

func TestWhatDoesNotPassEndsWithPatience(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = always(refuse(503))
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = time.Minute
		r.NoVerify = true

		summary := r.finish(listed("a")...)

		assert.Equal(t, seconds(0, 5, 15, 35, 60), srv.deletions())
		require.Len(t, summary.Left, 1)
		assert.Equal(t, deletion.Unanswered, summary.Left[0].Reason)
		assert.Equal(t, 503, summary.Left[0].Status)
		assert.Equal(t, journal.Unconfirmed, r.lastRecord("a").State)
	})
}

var twenty = strings.Fields("a b c d e f g h i j k l m n o p q r s t")

func TestARoundWithoutProgressEndsWithPatience(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer(twenty...)
		srv.answer = always(mute)
		r := newRun(t, srv.client(t)) // With a minute for each of five attempts.
		r.NoVerify = true

		summary := r.finish(listed(twenty...)...)

		assert.Less(t, time.Since(srv.start), 7*time.Minute, "five minutes, and one for what is on the wire")
		assert.Equal(t, 19, summary.NotDeleted)
		assert.Equal(t, 1, summary.Unconfirmed)
		assert.Contains(t, summary.Left[1].Error, "patience is over")
	})
}

func TestProgressPutsTheEndOfPatienceOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer(twenty...)
		srv.answer = always(slow(50*time.Second, serve))
		r := newRun(t, srv.client(t))
		r.Patience.Limit = time.Minute

		summary := r.finish(listed(twenty...)...)

		assertComplete(t, summary)
	})
}

func TestWhatIsRefusedForGoodIsNotSentAgain(t *testing.T) {
	for _, status := range []int{307, 400, 403, 404, 422, 501} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a", "b")
				srv.answer = script(refuse(status))
				r := newRun(t, srv.impatient(t))
				r.NoVerify = true

				summary := r.finish(listed("a", "b")...)

				assert.Equal(t, 1, summary.Deleted)
				require.Len(t, summary.Left, 1)
				assert.Equal(t, status, summary.Left[0].Status)
				assert.Equal(t, []string{"a"}, summary.Left[0].IDs)
			})
		})
	}
}

func TestARetryAfterIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = script(refuse(429, "Retry-After", "100")) // More than the SDK waits for.
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assertComplete(t, summary)
		assert.Equal(t, seconds(0, 100), srv.deletions())
		require.Len(t, r.waits, 1)
		assert.Equal(t, 100*time.Second, r.waits[0].Duration)
		assert.Contains(t, r.waits[0].why, "429")
	})
}

func TestARetryAfterBeyondPatienceEndsTheRunAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = always(refuse(429, "Retry-After", "301"))
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assert.Equal(t, seconds(0), srv.deletions())
		assert.Empty(t, r.waits)
		require.Len(t, summary.Left, 1)
		assert.Equal(t, 429, summary.Left[0].Status)
	})
}

func TestProgressBeginsPatienceAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b", "c")
		busy := refuse(429)
		// a at 0; b at 5+10+20; then it waits 5 again; and c at the very end of patience.
		srv.answer = script(nil, busy, busy, busy, busy, busy, busy, nil, busy, busy, busy, busy)
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = 40 * time.Second

		summary := r.finish(listed("a", "b", "c")...)

		assertComplete(t, summary)
		assert.Equal(t, seconds(0, 0, 0, 5, 5, 15, 15, 35, 35, 40, 50, 70, 75), srv.deletions())
	})
}

func TestPatienceCountsFromTheLastProgressNotFromTheEndOfItsRound(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b")
		srv.answer = func(n int, r *request) step {
			if r.isDeletion() && n > 1 {
				return slow(50*time.Second, refuse(429))
			}
			return nil
		}
		r := newRun(t, srv.impatient(t))
		r.Patience.Limit = time.Minute

		r.finish(listed("a", "b")...)

		assert.Equal(t, seconds(0, 0, 55), srv.deletions())
	})
}

func TestAnOutageOfAMinuteCostsAboutAMinute(t *testing.T) {
	for name, how := range map[string]step{
		"no connection": down, "503": refuse(503), "dropped connections": drop, "gateway page": applied(refuse(502)),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				ids := numbered(500)
				srv := newServer(ids...)
				lasts := outage(srv, 2*time.Second, 62*time.Second, how)
				srv.answer = func(n int, r *request) step {
					if step := lasts(n, r); step != nil {
						return step
					}
					return slow(50*time.Millisecond, serve)
				}
				r := newRun(t, srv.client(t))
				r.BatchSize, r.Concurrency = 5, 2

				summary := r.finish(listed(ids...)...)

				assertComplete(t, summary)
				assert.Empty(t, srv.remaining())
				assert.Less(t, time.Since(srv.start), 2*time.Minute)
			})
		})
	}
}

func TestA401EndsTheRunAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(200)
		srv := newServer(ids...)
		srv.answer = script(nil, refuse(401))
		r := newRun(t, srv.client(t))

		summary := r.finish(listed(ids...)...)

		assert.True(t, summary.KeyRefused)
		assert.Zero(t, time.Since(srv.start))
		assert.Len(t, srv.arrived(anyRequest), 2)
		assert.Equal(t, 1, summary.Deleted)
		assert.Equal(t, 199, summary.NotDeleted)
		for _, g := range summary.Left {
			assert.Equal(t, 401, g.Status)
		}
		assert.Equal(t, 198, len(left(summary, deletion.NotSent)))
	})
}

func TestA401InAVerificationEndsTheRunAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = both(reads(refuse(401)), always(lose))
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed("a")...)

		assert.True(t, summary.KeyRefused)
		assert.Len(t, srv.deletions(), 1)
		assert.Equal(t, 1, summary.Unconfirmed)
		assert.Equal(t, journal.Unconfirmed, r.lastRecord("a").State)
	})
}

var (
	noSuchHost     = &net.DNSError{Err: "no such host", Name: "api.test", IsNotFound: true}
	unknownHost    = unreachable(noSuchHost)
	badCertificate = unreachable(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}})
)

var mistakes = map[string]step{"an unknown host": unknownHost, "a bad certificate": badCertificate}

func TestAMistakeInTheAddressEndsTheRunAtOnce(t *testing.T) {
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				srv := newServer("a")
				srv.answer = always(mistake)
				r := newRun(t, srv.impatient(t))

				summary := r.finish(byHand("a")...)

				assert.Equal(t, seconds(0), srv.deletions())
				assert.Empty(t, r.waits)
				assert.Equal(t, []string{"a"}, left(summary, deletion.Refused))
				assert.Equal(t, []journal.State{journal.Sent, journal.NotDeleted}, r.states("a"))
			})
		})
	}
}

func TestAMistakeInTheAddressMayPassOnceTheServerHasAnswered(t *testing.T) {
	for name, mistake := range mistakes {
		for before, test := range map[string]struct {
			chosen func(...string) []deletion.Conversation
			steps  []step
		}{
			"in a listing":                       {listed, []step{mistake, mistake}},
			"in an earlier batch":                {byHand, []step{nil, mistake}},
			"in an earlier batch, with a 400":    {byHand, []step{refuse(400), mistake}},
			"in a later batch of the same round": {byHand, []step{mistake, nil}},
		} {
			t.Run(name+" "+before, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					srv := newServer("a", "b")
					srv.answer = script(test.steps...)
					r := newRun(t, srv.impatient(t))

					summary := r.finish(test.chosen("a", "b")...)

					assert.NotEmpty(t, r.waits, "it was not sent again")
					assert.NotContains(t, left(summary, deletion.Refused), "b")
				})
			})
		}
	}
}

func TestTheServerHasAnsweredIfItRefusedAVerification(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		steps := []step{drop, refuse(503), unknownHost, unknownHost}
		srv.answer = func(n int, _ *request) step {
			if n <= len(steps) {
				return steps[n-1]
			}
			return serve
		}
		r := newRun(t, srv.impatient(t))

		assertComplete(t, r.finish(byHand("a")...))
	})
}

func TestTheServerHasAnsweredOnceItHasVerified(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a")
		srv.answer = both(script(drop), outage(srv, time.Second, 12*time.Second, unknownHost))
		r := newRun(t, srv.impatient(t))

		assertComplete(t, r.finish(byHand("a")...))
	})
}

func TestARunThatIsRefusedForGoodEndsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(200)
		srv := newServer(ids...)
		srv.answer = always(refuse(404))
		r := newRun(t, srv.impatient(t))

		summary := r.finish(listed(ids...)...)

		assert.Empty(t, r.waits)
		assert.Less(t, len(srv.arrived(anyRequest)), 10)
		assert.Equal(t, 200, summary.NotDeleted)
		for _, g := range summary.Left {
			assert.Equal(t, 404, g.Status)
		}
	})
}

func TestEachRoundSendsOnlyWhatIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer("a", "b", "c", "d")
		srv.answer = script(nil, refuse(429), refuse(400), nil)
		r := newRun(t, srv.impatient(t))
		r.NoVerify = true

		r.finish(listed("a", "b", "c", "d")...)

		assert.Equal(t, [][]string{{"a"}, {"b"}, {"c"}, {"d"}, {"b"}}, srv.sentIDs())
	})
}

func TestARunOfNothingEndsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		srv := newServer()
		r := newRun(t, srv.impatient(t))

		assertComplete(t, r.finish())
		assert.Empty(t, srv.arrived(anyRequest))
	})
}

func TestARunKeepsToItsConcurrencyAndBatchSize(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ids := numbered(100)
		srv := newServer(ids...)
		var mu sync.Mutex
		now, most := 0, 0
		srv.answer = always(func(s *server, r *request) (*http.Response, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			resp, err := slow(time.Second, serve)(s, r)
			mu.Lock()
			now--
			mu.Unlock()
			return resp, err
		})
		r := newRun(t, srv.impatient(t))
		r.BatchSize, r.Concurrency = 10, 3

		assertComplete(t, r.finish(listed(ids...)...))

		assert.Equal(t, 3, most)
		assert.Len(t, srv.sentIDs(), 10)
	})
}
