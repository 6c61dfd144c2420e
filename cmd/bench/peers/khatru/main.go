// Command khatru is a rival: khatru over eventstore's LMDB, both with their
// defaults, so that cmd/bench can measure it beside ours in the same run.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/khatru"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7448", "address to serve on")
	data := flag.String("data", "", "directory of the database")
	maxLimit := flag.Int("max-limit", 1000, "rows a filter may ask for; eventstore's default of 1500 gives a quarter of it when a filter names none")
	flag.Parse()
	if *data == "" {
		log.Fatal("say where the database goes: -data DIR")
	}
	if err := serve(*listen, *data, *maxLimit); err != nil {
		log.Fatal(err)
	}
}

func serve(listen, data string, maxLimit int) error {
	db := lmdb.LMDBBackend{Path: data, MaxLimit: maxLimit}
	if err := db.Init(); err != nil {
		return err
	}
	defer db.Close()

	relay := khatru.NewRelay()
	relay.StoreEvent = append(relay.StoreEvent, db.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, db.QueryEvents)
	relay.CountEvents = append(relay.CountEvents, db.CountEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, db.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, db.ReplaceEvent)

	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("listening on ws://%s", ln.Addr())
	server := &http.Server{Handler: relay, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { // ends with ctx, which ends at the latest when serve returns
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}
