package relay

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"agora/relay/store"

	"github.com/gorilla/websocket"
)

// The program prints its address before Run has begun: who dials at once is
// served, not turned away.
func TestAConnectionThatComesBeforeRunWaitsForIt(t *testing.T) {
	st, err := store.Open(t.TempDir(), store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	r, err := New(Config{}, Parts{Log: st})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		arrived <- struct{}{}
		r.ServeHTTP(w, req)
	}))
	defer srv.Close()
	dialled := make(chan error, 1)
	go func() {
		c, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
		if err == nil {
			c.Close()
		}
		dialled <- err
	}()
	<-arrived
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
