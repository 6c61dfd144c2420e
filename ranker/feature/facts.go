package feature

// Facts is everything that is known at one moment about one reader and the
// notes that might be shown to them. Its owner lends it: nothing in it is kept
// or changed.
type Facts struct {
	Now        int64 // the moment of scoring, Unix seconds
	Tier       Tier  // the highest tier this request may use; what lies above is filled with zeros
	Viewer     Person
	Candidates []Candidate
	Knobs      map[string]float32 // by the names the listing declares, defaults put in
}

// Candidate is one note that might be shown. What is nil is unknown and reads
// as zeros; many candidates may share a fact.
type Candidate struct {
	Note    *Note
	Author  *Author
	Thread  *Thread
	Counts  *Counts
	Pair    *Pair
	Proof   *Proof
	Signals *Signals
	Stages  *Stages
	Sources Source
}

// Note is what an event says of itself; Read makes one. It never changes.
type Note struct {
	CreatedAt  int64     // Unix seconds, as the author claims
	ID         int64     // Hash of the event id
	Author     int64     // Hash of the author's key
	Tokens     []int32   // from Tokens; nil where no model asks for them
	Vector     []float32 // text vector of VectorSize numbers; nil: none
	Wording    []float32 // what the spam classifier sees of the text: WordingSize numbers, of which the last may be missing; nil: none
	Kind       uint16
	Characters uint32 // Unicode code points, links included
	Words      uint16
	Lines      uint16
	Emoji      uint16 // code points of pictographs
	Links      uint16 // http and https, media included
	Hosts      uint16 // distinct hosts of those links
	Images     uint16
	Videos     uint16
	Audio      uint16
	Hashtags   uint16  // distinct t tags
	Mentions   uint16  // distinct p tags
	Quotes     uint16  // distinct q tags
	Invoices   uint16  // lnbc… in the text
	Script     Script  // of most letters
	Reply      bool    // has a parent (NIP-10, NIP-22)
	Warning    bool    // content-warning (NIP-36)
	Question   bool    // the text has a question mark
	Protected  bool    // NIP-70
	Capitals   float32 // share of the cased letters, 0 … 1
	Distinct   float32 // share of the first 512 words that are different ones, 0 … 1
}

// Author is what is known about a key as a writer.
type Author struct {
	FirstSeen      int64   // created_at of its first event held here, Unix seconds
	Trust          float32 // global trust, 0 … 1
	Followers      uint32  // distinct keys
	FollowersTrust float32 // sum of their global trust
	Follows        uint32  // keys it follows
	NotesPerDay    float32 // decayed over 7 days
	Notes24h       uint32  // notes in the last 24 hours
	ReplyShare     float32 // share of its notes that are replies, 0 … 1
	MuteShare      float32 // trust of those who mute it / trust of those who mute or follow it, 0 … 1
	ReportShare    float32 // the same with reports (NIP-56)
	LikesPerNote   float32 // trust-weighted likes per note, 30 days
	RepliesPerNote float32 // trust-weighted replies per note, 30 days
	ZapMsat30d     uint64  // zapped to it in 30 days, millisats
	Nip05          bool    // its profile names an address
	Lightning      bool    // its profile names a lightning address
	Picture        bool    // its profile has a picture
	Bot            bool    // its profile says so (NIP-24)
}

// Thread is where a note stands in its conversation.
type Thread struct {
	Depth        uint16  // notes above it; 0 for a root
	RootAt       int64   // created_at of the root, Unix seconds
	Siblings     uint32  // other replies to the same parent
	ParentTrust  float32 // global trust of the parent's author
	ParentViewer float32 // the viewer's trust in the parent's author
	ToViewer     bool    // the parent is the viewer's
	RootFollowed bool    // the viewer follows the root's author
}

// Action is what a key did with a note.
type Action uint8

// The actions. A key counts once per note and action.
const (
	Like    Action = iota // kind 7, "+" or empty
	Dislike               // kind 7, "-"
	Emoji                 // kind 7, anything else
	Reply                 // kind 1 with a parent, kind 1111
	Repost                // kinds 6 and 16
	Quote                 // q tag
	Zap                   // kind 9735, verified
	Report                // kind 1984
	Actions               // how many there are
)

// Window is a span over which velocity is measured.
type Window uint8

// The windows.
const (
	Min15 Window = iota
	Hour1
	Hour6
	Hour24
	Windows // how many there are
)

// Counts is what others did with a note.
type Counts struct {
	Actors        [Actions]uint32  // distinct keys
	People        People           // of those keys
	Trust         [Actions]float32 // sum of their global trust
	Viewer        [Actions]float32 // sum of the viewer's trust in them, at most 64 of them
	Rate          [Windows]float32 // distinct actors per hour, all actions but Dislike and Report, decayed with the window as time constant
	TrustRate     [Windows]float32 // the same, each actor with its global trust
	ZapMsat       uint64           // millisats of verified zaps
	ZapMsatTrust  float64          // millisats times the sender's global trust
	NewerByAuthor uint16           // live notes its author has written since
	Duplicates    uint16           // near-duplicates among the live notes
	DuplicateKeys uint16           // distinct keys that wrote those
	Earlier       uint16           // near-duplicates older than this note
}

// People is who proved to be one person each, of one group, by what they did
// with a note.
type People struct{ Likes, Dislikes, Emoji, Reports uint32 }

// Span is one of the half-lives of what passed between two keys.
type Span uint8

// The spans.
const (
	Days7 Span = iota
	Days30
	Days90
	Spans // how many there are
)

// Pair is what is known between the viewer and an author.
type Pair struct {
	Trust         float32 // the viewer's trust in the author, 0 … 1
	Hops          uint8   // steps along follows; 0: none known, 1: follows
	Follows       bool    // the viewer follows the author
	FollowedBy    bool    // the author follows the viewer
	CommonFollows uint32  // keys both follow
	CommonShare   float32 // those / keys either follows (Jaccard), 0 … 1
	LikesOf       uint32  // likes of the viewer's that went to this author, 90 days, undecayed
	Likes         [Spans]float32
	Replies       [Spans]float32
	Reposts       [Spans]float32
	Zaps          [Spans]float32
	Inbound       [Spans]float32 // likes, replies, reposts and zaps of the author to the viewer
	LastAt        int64          // the viewer's last interaction with the author, Unix seconds; 0: none
	Interest      float32        // how much the viewer's co-likers like this author, 0 … 1
}

// Proof is what the keys that the viewer follows did with a note.
type Proof struct {
	Actors [Actions]uint16 // distinct followed keys
	Trust  float32         // sum of the viewer's trust in all of them, each key once
	Seen   bool            // the viewer was served this note before
	Acted  bool            // the viewer has liked, reposted, zapped or answered it
}

// Signals is what other rooms judge.
type Signals struct {
	Spam   float32 // probability that it is machine-made spam, 0 … 1
	AI     float32 // probability that a machine wrote the text, 0 … 1
	Nsfw   float32 // probability that it is not for work, 0 … 1
	Person float32 // 1: the author proved to be one person; 0: not or unknown
	Actors float32 // share of the likers who proved to be one person each, 0 … 1
}

// Stages is what stages that are no ONNX graph found; zero unless the listing
// switches the stage on.
type Stages struct {
	CoLike          float32 // co-likers' score, half-life and popularity penalty applied
	BridgeIntercept float32 // i_n of the factorisation
	BridgeFactor    float32 // f_n
	BridgeLower     float32 // lower 95 % bound of i_n
	Novelty         float32 // 1 - largest similarity to what the viewer liked last, 0 … 1
}

// Source says which candidate sources brought a note.
type Source uint8

// The sources.
const (
	FromFollows   Source = 1 << iota // written by a key the viewer follows
	FromTrusted                      // acted upon by keys the viewer follows
	FromCoLikers                     // liked by those who like what the viewer likes
	FromGlobal                       // among the notes most acted upon
	FromRecent                       // among the newest
	FromNewAuthor                    // written by a key seen for less than 24 hours or with few followers
)

// Person is the viewer.
type Person struct {
	Known         bool   // the request names a viewer
	Key           int64  // Hash of the viewer's key
	Follows       uint32 // keys the viewer follows
	Followers     uint32
	FirstSeen     int64   // Unix seconds
	LastSeen      int64   // the viewer's last page before this one, Unix seconds; 0: none
	LikesPerDay   float32 // decayed over 7 days
	RepliesPerDay float32
	BridgeFactor  float32          // f_u of the factorisation
	Scripts       [Scripts]float32 // share of each script in what the viewer liked last, 0 … 1
	History       []Past           // newest first
}

// Past is one thing the viewer did.
type Past struct {
	Note   int64 // Hash of the event id
	Author int64 // Hash of its author's key
	At     int64 // when, Unix seconds
	Action Action
	Vector []float32 // text vector of the note; nil: none
}
