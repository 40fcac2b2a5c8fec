package backend

import (
	"fmt"
	"slices"

	"github.com/memoryplugin/memoryplugin-go"
)

// most is how many falsehoods are kept: one is enough to fail.
const most = 20

// Judge compares what a client says about ids with the truth. What is false is
// in Falsehoods. Unconfirmed can't be false.
func (b *Backend) Judge(ids []string, result *memoryplugin.DeleteConversationsResult) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.judgeLists(ids, result)
	for _, id := range result.Deleted {
		if b.conversations[id] != gone {
			b.belie("%s is said to be deleted, but is not", id)
		}
	}
	for _, id := range result.NotListed {
		if b.conversations[id] != 0 {
			b.belie("%s is said not to be listed, but was a conversation", id)
		}
	}
	for _, id := range result.NotDeleted {
		switch b.conversations[id] {
		case gone:
			b.belie("%s is said not to be deleted, but is", id)
		case there:
			b.conversations[id] = spared
		}
	}
}

// JudgeGone compares what a client says is not there, or no longer, with the truth.
func (b *Backend) JudgeGone(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if b.conversations[id].exists() {
			b.belie("%s is said to be gone, but is there", id)
		}
	}
}

// judgeLists checks that each id is in exactly one list, in the order of ids.
func (b *Backend) judgeLists(ids []string, result *memoryplugin.DeleteConversationsResult) {
	position := make(map[string]int, len(ids))
	for i, id := range ids {
		position[id] = i
	}
	n := 0
	for _, list := range [][]string{result.Deleted, result.NotListed, result.NotDeleted, result.Unconfirmed} {
		n += len(list)
		last := -1
		for _, id := range list {
			i, unseen := position[id]
			if !unseen || i < last {
				b.belie("%s is in two lists, out of order, or was not requested", id)
			}
			delete(position, id)
			last = i
		}
	}
	if n != len(ids) {
		b.belie("%d ids were requested, and %d are accounted for", len(ids), n)
	}
}

// Falsehoods returns what was false so far, or the first of it.
func (b *Backend) Falsehoods() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.falsehoods)
}

func (b *Backend) belie(format string, args ...any) {
	if len(b.falsehoods) < most {
		b.falsehoods = append(b.falsehoods, fmt.Sprintf(format, args...))
	}
}
