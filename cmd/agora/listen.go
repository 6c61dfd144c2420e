package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// listen opens a TCP address, or says what to do about it.
func listen(ctx context.Context, setting, address string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is taken by another program: stop that one, or choose another address with --%s", address, setting)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s may not be opened by this user: choose a port from 1024 up with --%s, and put a proxy in front", address, setting)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this machine: choose one that is, or 0.0.0.0 for all, with --%s", address, setting)
	}
	return nil, fmt.Errorf("--%s: %w", setting, err)
}

// newServer is an HTTP server for untrusted clients. Reading the headers has a
// deadline, reading the body one of its own (wholeBody), headers are small, and
// HTTP/2 is off because websockets upgrade HTTP/1.1. ReadTimeout stays 0: it
// would end the context of every answer that takes longer.
func newServer(handler http.Handler, handshake time.Duration, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: handshake, // of the TLS handshake too
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		Protocols:         &protocols,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' broken handshakes
	}
}

// certificate is the TLS certificate, which SIGHUP reads again.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// newCertificate is nil when TLS is not asked for.
func newCertificate(cfg Config) (*certificate, error) {
	if cfg.TLSCert == "" && cfg.TLSKey == "" {
		return nil, nil
	}
	if cfg.TLSCert == "" || cfg.TLSKey == "" {
		return nil, usagef("tls_cert and tls_key belong together: one of them is empty")
	}
	c := &certificate{certFile: cfg.TLSCert, keyFile: cfg.TLSKey}
	return c, usage(c.reload())
}

func (c *certificate) reload() error {
	if c == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tls_cert %s, tls_key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// wrap puts TLS around l.
func (c *certificate) wrap(l net.Listener) net.Listener {
	if c == nil {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	})
}

// addresses are the URLs a listener is reached under.
type addresses struct{ relay, page string }

func urlsOf(l net.Listener, tls bool) addresses {
	host := l.Addr().String()
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		host = net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
	}
	if tls {
		return addresses{"wss://" + host, "https://" + host}
	}
	return addresses{"ws://" + host, "http://" + host}
}

// localNames are the names under which programs on this machine reach a
// listener, the given one first: whoever typed localhost signs for localhost.
func localNames(l net.Listener, first string) []string {
	names := []string{first}
	tcp, ok := l.Addr().(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() && !tcp.IP.IsUnspecified() {
		return names
	}
	scheme, _, _ := strings.Cut(first, "://")
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		name := scheme + "://" + net.JoinHostPort(host, fmt.Sprint(tcp.Port))
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
