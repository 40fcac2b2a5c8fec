// Memory shows that DeleteConversationsInBatches needs as much memory for ten
// thousand ids as for ten million. It streams generated ids through a transport
// in memory, and prints the peak resident size of each run:
//
//	go run ./memory
//
// Each run is a process of its own, so that peaks don't add up. Windows does not
// report them in this way, and the program says so.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"time"

	"github.com/memoryplugin/memoryplugin-go"
)

func main() {
	var err error
	if len(os.Args) > 1 {
		err = deleteIDs(os.Args[1])
	} else {
		err = compare(10_000, 100_000, 1_000_000, 10_000_000)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
}

// compare starts this program once for each number of ids.
func compare(numbers ...int) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Printf("%10s  %14s  %8s\n", "ids", "peak resident", "seconds")
	for _, n := range numbers {
		run := exec.Command(program, strconv.Itoa(n))
		run.Stderr = os.Stderr
		start := time.Now()
		if err := run.Run(); err != nil {
			return fmt.Errorf("%d ids: %w", n, err)
		}
		fmt.Printf("%10d  %14s  %8.1f\n", n, peak(run.ProcessState), time.Since(start).Seconds())
	}
	return nil
}

// peak is the most memory that a process had before it ended. Reflection,
// because on Windows syscall.Rusage has no such field.
func peak(process *os.ProcessState) string {
	usage := reflect.Indirect(reflect.ValueOf(process.SysUsage()))
	if usage.Kind() != reflect.Struct || !usage.FieldByName("Maxrss").IsValid() {
		return "not reported"
	}
	size := float64(usage.FieldByName("Maxrss").Int())
	if runtime.GOOS != "darwin" && runtime.GOOS != "ios" {
		size *= 1024 // Elsewhere it is in KiB.
	}
	return fmt.Sprintf("%.1f MiB", size/(1<<20))
}

// deleteIDs deletes as many generated ids as number says.
func deleteIDs(number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	client, err := memoryplugin.NewClient("key-of-nobody", memoryplugin.WithHTTPClient(&http.Client{Transport: inMemory{}}))
	if err != nil {
		return err
	}
	ids := func(yield func(string) bool) {
		for i := 0; i < n && yield(fmt.Sprintf("0b9a7c52-8d1e-4f3a-9c60-%012d", i)); i++ {
		}
	}
	deleted := 0
	for result, err := range client.DeleteConversationsInBatches(context.Background(), ids, memoryplugin.BatchOptions{}) {
		if err != nil {
			return err
		}
		deleted += len(result.Deleted)
	}
	if deleted != n {
		return fmt.Errorf("%d of %d deleted", deleted, n)
	}
	return nil
}

// inMemory confirms every id of a request, {"ids":[...]}.
type inMemory struct{}

func (inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	ids := bytes.TrimSuffix(bytes.TrimPrefix(body, []byte(`{"ids":`)), []byte(`}`))
	answer := fmt.Appendf(nil, `{"deleted":%s,"count":%d}`, ids, bytes.Count(ids, []byte(`","`))+1)
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(answer)),
	}, nil
}
