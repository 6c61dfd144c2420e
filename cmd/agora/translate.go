package main

import (
	"log/slog"
	"math"
	"os"

	"agora/relay"
)

// limits are the settings in the relay's own words. There, a zero rate means
// the default; here it means no bound, so it becomes one that is never met.
func (cfg Config) limits() relay.Limits {
	return relay.Limits{
		MaxMessage: int(cfg.MaxMessage), MaxContent: cfg.MaxContent, MaxTags: cfg.MaxTags,
		MaxFilters: cfg.MaxFilters, MaxFilterItems: cfg.MaxFilterItems, MaxSubscriptions: cfg.MaxSubscriptions,
		DefaultLimit: cfg.DefaultLimit, MaxLimit: cfg.MaxLimit, MinPow: cfg.MinPoW,
		MaxNegentropy: zeroIsOff(cfg.MaxNegentropy),
		MaxFuture:     cfg.MaxFuture.Duration, MaxPast: cfg.MaxPast.Duration,
		AuthToRead: cfg.AuthToRead, AuthToWrite: cfg.AuthToWrite,
		QueryTime: cfg.QueryTime.Duration, QueryCost: cfg.QueryCost,
		Budget: relay.Budget{
			EventsPerSecond: unbounded(cfg.EventsPerSecond), EventBurst: unbounded(float64(cfg.EventsBurst)),
			BytesPerSecond: unbounded(float64(cfg.BytesPerSecond)), ByteBurst: unbounded(float64(cfg.BytesBurst)),
			QueriesPerSecond: unbounded(cfg.QueriesPerSecond), QueryBurst: unbounded(float64(cfg.QueriesBurst)),
			IPFactor: cfg.IPFactor, Connections: cfg.IPConnections, Unauthenticated: cfg.IPUnauthed,
			IPSubscriptions: cfg.IPSubscriptions, TotalConnections: cfg.MaxConnections,
			Ping: cfg.Ping.Duration, Idle: cfg.Idle.Duration,
			WriteStall: cfg.WriteStall.Duration, Handshake: cfg.Handshake.Duration,
		},
	}
}

func unbounded(rate float64) float64 {
	if rate == 0 {
		return math.MaxInt32
	}
	return rate
}

// zeroIsOff says "none" where the relay reads zero as its default.
func zeroIsOff(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// policy is who may do what, in the relay's own words.
func (cfg Config) policy() relay.ManagementPolicy {
	return relay.ManagementPolicy{
		Admins: cfg.Admins, RestrictedWrites: cfg.MembersOnly, RestrictedKinds: cfg.AllowedKinds,
		InviteCodes: cfg.InviteCodes, MembersInvite: cfg.MembersInvite,
	}
}

// newLogger logs to stderr at a level that can be changed.
func newLogger(cfg Config) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := setLevel(level, cfg.LogLevel); err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level, nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level, nil
}

func setLevel(level *slog.LevelVar, word string) error {
	var l slog.Level
	if err := l.UnmarshalText([]byte(word)); err != nil {
		return usagef("log_level: %q is not debug, info, warn or error", word)
	}
	level.Set(l)
	return nil
}
