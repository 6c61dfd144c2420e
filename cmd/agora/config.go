package main

import "time"

// Config is every setting of the program. A field's `toml` name is its name in
// the file; the flag is the same with dashes, the environment variable the
// same in capitals after AGORA_. `unit` and `help` are what --print-config and
// --help say; `reload:"yes"` marks what SIGHUP changes without a restart;
// `group` opens a chapter of the printed file.
type Config struct {
	Listen         string   `toml:"listen" group:"Where it listens and what it keeps" unit:"host:port" help:"address of the relay, for websockets and HTTP alike; port 0 picks a free one"`
	Data           string   `toml:"data" unit:"directory" help:"everything the relay keeps; made with mode 0700 when missing"`
	Store          string   `toml:"store" unit:"eventstore:lmdb:DIR, eventstore:badger:DIR or eventstore:sqlite3:FILE" help:"serve another Go relay's events where they lie, with what such a store can do (agora serve --help); empty: our own store, in data"`
	MetricsListen  string   `toml:"metrics_listen" unit:"host:port" help:"address of its own for /metrics and /healthz; empty: both are served on the main address, /metrics to loopback only"`
	TLSCert        string   `toml:"tls_cert" unit:"file" help:"certificate chain in PEM; empty: no TLS (put a proxy in front, see trusted_proxies)"`
	TLSKey         string   `toml:"tls_key" unit:"file" help:"private key in PEM that belongs to tls_cert"`
	PublicURLs     []string `toml:"public_urls" unit:"ws:// or wss:// URLs" help:"addresses under which clients reach the relay; NIP-42, NIP-62 and NIP-98 compare with their host and port; empty: derived from listen, on this machine as localhost, too"`
	TrustedProxies []string `toml:"trusted_proxies" unit:"addresses or CIDR networks" help:"proxies whose X-Forwarded-For or, where there is none, Forwarded header names the client: they must write the first or drop the client's own; empty: both are ignored"`
	LogLevel       string   `toml:"log_level" reload:"yes" unit:"debug, info, warn or error" help:"least level that is logged to stderr"`
	LogJSON        bool     `toml:"log_json" unit:"true or false" help:"log in JSON lines instead of text"`

	Name        string   `toml:"name" group:"What it says about itself (NIP-11)" unit:"up to 30 characters" help:"the relay's name"`
	Description string   `toml:"description" unit:"text" help:"what this relay is for"`
	Contact     string   `toml:"contact" unit:"mailto: or https: address" help:"how to reach the operator"`
	Icon        string   `toml:"icon" unit:"URL" help:"square picture"`
	Banner      string   `toml:"banner" unit:"URL" help:"wide picture"`
	Terms       string   `toml:"terms_of_service" unit:"URL" help:"terms of service"`
	Software    string   `toml:"software" unit:"URL" help:"where the source of this relay is found"`
	Admins      []string `toml:"admins" reload:"yes" unit:"npub1… or 64 hex digits" help:"keys that may manage the relay (NIP-86); the first is announced as its pubkey"`

	MaxMessage       Size     `toml:"max_message" reload:"yes" group:"Limits of one connection, one query, one event" unit:"bytes" help:"largest message a client may send, inflated; leave room for max_content with escapes"`
	MaxContent       int      `toml:"max_content" reload:"yes" unit:"characters" help:"longest content of an event"`
	MaxTags          int      `toml:"max_tags" reload:"yes" unit:"tags" help:"most tags of an event; contact lists of 10,000 keys are real"`
	MaxSubscriptions int      `toml:"max_subscriptions" reload:"yes" unit:"subscriptions" help:"most open subscriptions of one connection"`
	MaxFilters       int      `toml:"max_filters" reload:"yes" unit:"filters" help:"most filters in one REQ or COUNT"`
	MaxFilterItems   int      `toml:"max_filter_items" reload:"yes" unit:"values" help:"most ids, authors, kinds and tag values together in one filter"`
	MaxLimit         int      `toml:"max_limit" reload:"yes" unit:"events" help:"most stored events one filter is answered with; a larger limit is cut to this"`
	DefaultLimit     int      `toml:"default_limit" reload:"yes" unit:"events" help:"stored events for a filter that names no limit"`
	MinPoW           int      `toml:"min_pow" reload:"yes" unit:"leading zero bits (NIP-13)" help:"proof of work an event must carry; 0: none"`
	MaxFuture        Duration `toml:"max_future" reload:"yes" unit:"time" help:"how far ahead of our clock created_at may lie"`
	MaxPast          Duration `toml:"max_past" reload:"yes" unit:"time" help:"how old an event from a client may be; 0s: any age"`
	QueryTime        Duration `toml:"query_time" reload:"yes" unit:"time" help:"work for one REQ or COUNT at most, without the time its client takes to read"`
	QueryCost        int      `toml:"query_cost" reload:"yes" unit:"index ranges" help:"most ranges of an index one REQ or COUNT may open: authors times kinds, tag values and so on"`

	AuthToRead    bool     `toml:"auth_to_read" reload:"yes" group:"Who may read and write" unit:"true or false" help:"reading needs NIP-42 authentication"`
	AuthToWrite   bool     `toml:"auth_to_write" reload:"yes" unit:"true or false" help:"writing needs NIP-42 authentication"`
	MembersOnly   bool     `toml:"members_only" reload:"yes" unit:"true or false" help:"only members may write: keys allowed by NIP-86 (allowpubkey, assignrole) or by an invitation of NIP-43"`
	AllowedKinds  bool     `toml:"allowed_kinds_only" reload:"yes" unit:"true or false" help:"only kinds allowed by NIP-86 (allowkind) are taken, and deletions"`
	InviteCodes   []string `toml:"invite_codes" reload:"yes" unit:"words" help:"standing codes that make a member of whoever brings one (NIP-43)"`
	MembersInvite bool     `toml:"members_invite" reload:"yes" unit:"true or false" help:"members, not only admins, may ask for an invitation (NIP-43)"`
	PrivateKinds  []int    `toml:"private_kinds" unit:"kinds" help:"kinds that only their author and the keys in their p tags may read, after authentication; 1059 and 21059 always go to their recipients only"`

	EventsPerSecond  float64  `toml:"events_per_second" reload:"yes" group:"Budgets (the rates spare budget_exempt)" unit:"events/s" help:"sustained EVENT messages of one connection; 0: no bound"`
	EventsBurst      int      `toml:"events_burst" reload:"yes" unit:"events" help:"events of one connection at once, before the rate applies"`
	QueriesPerSecond float64  `toml:"queries_per_second" reload:"yes" unit:"queries/s" help:"sustained REQ, COUNT, NEG-OPEN and malformed messages of one connection; 0: no bound"`
	QueriesBurst     int      `toml:"queries_burst" reload:"yes" unit:"queries" help:"queries of one connection at once, before the rate applies"`
	BytesPerSecond   Size     `toml:"bytes_per_second" reload:"yes" unit:"bytes/s" help:"sustained incoming bytes of one connection; beyond it the socket is not read; 0: no bound"`
	BytesBurst       Size     `toml:"bytes_burst" reload:"yes" unit:"bytes" help:"incoming bytes of one connection at once, before the rate applies"`
	IPFactor         float64  `toml:"ip_factor" reload:"yes" unit:"times" help:"one address may use so many times the rates of one connection"`
	IPConnections    int      `toml:"ip_connections" reload:"yes" unit:"connections" help:"most open connections of one address"`
	IPUnauthed       int      `toml:"ip_unauthenticated" reload:"yes" unit:"connections" help:"most open connections of one address that have not authenticated"`
	IPSubscriptions  int      `toml:"ip_subscriptions" reload:"yes" unit:"subscriptions" help:"most open subscriptions of one address"`
	MaxConnections   int      `toml:"max_connections" reload:"yes" unit:"connections" help:"most open connections of the whole relay"`
	Ping             Duration `toml:"ping" reload:"yes" unit:"time" help:"a silent connection is pinged after this"`
	Idle             Duration `toml:"idle" reload:"yes" unit:"time" help:"a connection that answers no ping is dropped after this"`
	WriteStall       Duration `toml:"write_stall" reload:"yes" unit:"time" help:"a connection that takes no byte for so long is dropped"`
	Handshake        Duration `toml:"handshake" unit:"time" help:"longest time from the first byte of a connection to the answer of its upgrade"`
	BudgetExempt     []string `toml:"budget_exempt" unit:"addresses or CIDR networks" help:"addresses to which neither rates nor the bounds per address (ip_…) apply: a proxy on this machine that does not forward its clients' addresses lifts them for all"`

	Retention   []string `toml:"retention" reload:"yes" group:"The store" unit:"rules" help:"what is thrown away: \"kinds=7,20-22 age=90d\" (the first rule that names a kind decides), \"age=365d\" for all but replaceable kinds, \"size=50GiB\" (oldest first); empty: nothing"`
	MapSize     Size     `toml:"map_size" unit:"bytes of address space" help:"upper bound of the database; costs nothing until used"`
	BatchEvents int      `toml:"batch_events" unit:"events" help:"most events in one synced commit"`
	BatchWait   Duration `toml:"batch_wait" unit:"time" help:"under load, a commit begins this long after the one before, so that more events join it, and up to eight times as long while others are being verified"`

	Runtime   string   `toml:"onnxruntime" group:"Models that rank" unit:"file" help:"libonnxruntime.so.1, of version 1.30.0 or later; empty: the one next to the program; without one, feeds show their fallback"`
	Device    string   `toml:"device" unit:"auto, cuda, webgpu or cpu" help:"what models compute on; auto takes the first that works (agora ranker devices)"`
	Models    []string `toml:"models" unit:"ONNX files" help:"models that may run beside those that come with the program"`
	ModelTime Duration `toml:"model_time" unit:"time" help:"longest time for one page's scores, waiting included; then the page is the feed's fallback"`

	SpamMode        string   `toml:"spam_mode" reload:"yes" group:"Spam (these may also stand in a table [spam], without spam_)" unit:"pass, measure, label, quarantine or refuse" help:"what happens to notes that are spam beyond doubt; those only suspected are at most labelled; authors within two hops of spam_seeds are never refused or hidden by score"`
	SpamEnforce     bool     `toml:"spam_enforce" unit:"true or false" help:"do not start when a model (words, or tier 1) is missing or damaged; otherwise the relay runs without and says so"`
	SpamModel       string   `toml:"spam_model" unit:"file" help:"a model made by spam/train; empty: the one in the program"`
	SpamRules       []string `toml:"spam_rules" reload:"yes" unit:"rules" help:"what happens instead, the first that fits: \"kinds=1,42 trust<0.3 script=Han when=sure action=refuse\" (when: suspect, sure, scam)"`
	SpamDryRun      bool     `toml:"spam_dry_run" reload:"yes" unit:"true or false" help:"log and count what would have happened, do nothing"`
	SpamSeeds       []string `toml:"spam_seeds" unit:"npub1… or 64 hex digits" help:"whose web of trust is spared; empty: the admins"`
	WritePolicy     []string `toml:"write_policy" unit:"rules" help:"commands that speak strfry's write-policy plugin protocol, asked before each event is stored"`
	WritePolicyTime Duration `toml:"write_policy_time" unit:"time" help:"how long a write-policy command may take to answer on one event; then nothing is stored"`

	Search        bool     `toml:"search" group:"Projections of the log" unit:"true or false" help:"keep a word index and answer NIP-50 searches"`
	HTTPExport    bool     `toml:"http_export" unit:"true or false" help:"answer GET /v1/export with what anyone may read, as JSON lines"`
	SearchDisk    Size     `toml:"search_disk" unit:"bytes" help:"disk budget of the word index; above it the oldest events leave the index"`
	Graph         bool     `toml:"graph" unit:"true or false" help:"keep the social graph and answer /v1/graph/"`
	Assertions    int      `toml:"assertions" unit:"keys" help:"for how many of the highest ranked keys NIP-85 assertions are published; 0: none"`
	Feeds         bool     `toml:"feeds" unit:"true or false" help:"rank notes and answer at /f/, /v1/feeds, by search keys and by jobs; needs graph"`
	FeedsAge      Duration `toml:"feeds_age" unit:"time" help:"the oldest note that feeds rank, but for the latest 5,000, which they rank however old; what a feed itself declares may be less; every note costs about 250 bytes of memory"`
	FeedsZaps     bool     `toml:"feeds_zaps" unit:"true or false" help:"count zaps: the lightning address in the profile of whoever is zapped is asked, over the network, which key signs receipts; false: no zap counts"`
	FeedsCompat   bool     `toml:"feeds_compat_software" unit:"true or false" help:"let NIP-11 of /f/ name another project's software, the only one whose order some clients keep; the description says so"`
	DVMRelays     []string `toml:"dvm_relays" unit:"ws:// or wss:// URLs" help:"where else feeds are announced and jobs for them (NIP-90) are heard and answered; empty: here only"`
	MaxNegentropy int      `toml:"max_negentropy" reload:"yes" unit:"events" help:"most events of a filter that NEG-OPEN (NIP-77) may name and that is not kept ready; 0: no negentropy at all"`
	ReadySets     []string `toml:"ready_sets" unit:"filters in JSON" help:"filters whose negentropy sets are kept ready beside the whole set"`
	Compression   bool     `toml:"compression" unit:"true or false" help:"permessage-deflate for clients that ask for it"`
	Bring         bool     `toml:"bring" unit:"true or false" help:"let a key have its own events fetched from its relays (POST /v1/graph/{npub}/bring)"`
	IndexRelays   []string `toml:"index_relays" unit:"ws:// or wss:// URLs" help:"where bring looks for a key's relay list that is not held here"`
	AllowPrivate  []string `toml:"dial_private" unit:"CIDR networks" help:"private networks that outgoing connections may reach; empty: none"`

	PersonGroups []string `toml:"person_groups" group:"People, not keys" unit:"32191:key:name" help:"groups whose members count as people in reactions, reports and reviews; a poll names its own group; empty: none"`
	Groups       []string `toml:"groups" unit:"rules" help:"groups of people that this relay keeps: \"town source=invite quota=3\"; each takes members by one source (invite, labels, semaphore, worldid3, worldid4; see README) and they count as people here; empty: none"`
	MirrorGroups []string `toml:"mirror_groups" unit:"rules" help:"groups of other relays whose events and members files are kept here too: \"32191:key:name wss://its.host\"; whether their members count here, person_groups says"`
	GroupBatch   Duration `toml:"group_batch" unit:"time" help:"how often a group's new root is published; who joins in between hides among the others who do"`
	PersonKinds  []int    `toml:"person_kinds" unit:"kinds" help:"kinds that are taken only with a proof of personhood"`
	PersonGrace  Duration `toml:"person_grace" unit:"duration" help:"how long a group's root counts after the next was published; at most 24h"`
	PersonWindow Duration `toml:"person_ballot_window" unit:"duration" help:"how far from now the created_at of a person's ballot may be on a socket, either way; imports and syncs have no such clock"`
}

// defaults is the configuration of a relay that was told nothing.
func defaults() Config {
	return Config{
		Listen:   "127.0.0.1:7447",
		Data:     "./data",
		LogLevel: "info",

		Name:        "Agora",
		Description: "A Nostr relay. Its readers own their graph.",

		MaxMessage:       1<<20 + 1<<17,
		MaxContent:       512 << 10,
		MaxTags:          20_000,
		MaxSubscriptions: 100,
		MaxFilters:       50,
		MaxFilterItems:   5_000,
		MaxLimit:         1_000,
		DefaultLimit:     500,
		MaxFuture:        Duration{15 * time.Minute},
		QueryTime:        Duration{5 * time.Second},
		QueryCost:        100_000,

		EventsPerSecond:  50,
		EventsBurst:      500,
		QueriesPerSecond: 20,
		QueriesBurst:     200,
		BytesPerSecond:   1 << 20,
		BytesBurst:       8 << 20,
		IPFactor:         4,
		IPConnections:    100,
		IPUnauthed:       100,
		IPSubscriptions:  1_000,
		MaxConnections:   20_000,
		Ping:             Duration{30 * time.Second},
		Idle:             Duration{2 * time.Minute},
		WriteStall:       Duration{time.Minute},
		Handshake:        Duration{10 * time.Second},
		BudgetExempt:     []string{"127.0.0.0/8", "::1"},

		MapSize:     1 << 40,
		BatchEvents: 256,
		BatchWait:   Duration{3 * time.Millisecond},

		Device:    "auto",
		ModelTime: Duration{250 * time.Millisecond},

		PersonGrace:  Duration{time.Hour},
		PersonWindow: Duration{15 * time.Minute},
		GroupBatch:   Duration{time.Hour},

		SpamMode:        "measure",
		WritePolicyTime: Duration{time.Second},

		Search:        true,
		HTTPExport:    true,
		SearchDisk:    2 << 30,
		Graph:         true,
		Assertions:    1000,
		Feeds:         true,
		FeedsAge:      Duration{30 * 24 * time.Hour},
		MaxNegentropy: 200_000,
		Compression:   true,
		Bring:         true,
	}
}
