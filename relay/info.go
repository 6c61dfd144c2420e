package relay

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// About is how a relay presents itself (NIP-11).
type About struct {
	Name           string // default "agora"
	Description    string
	Banner         string
	Icon           string
	PubKey         string // hex, of the operator
	Self           string // hex, the relay's own
	Contact        string
	Software       string // a URL
	Version        string
	TermsOfService string
	DefaultLimit   int // of a door beside "/"; 0: as on the root
	MaxLimit       int // the same
}

// Document is the NIP-11 document.
type Document struct {
	Name           string     `json:"name"`
	Description    string     `json:"description"`
	Banner         string     `json:"banner,omitempty"`
	Icon           string     `json:"icon,omitempty"`
	PubKey         string     `json:"pubkey,omitempty"`
	Self           string     `json:"self,omitempty"`
	Contact        string     `json:"contact,omitempty"`
	SupportedNIPs  []int      `json:"supported_nips"`
	Software       string     `json:"software,omitempty"`
	Version        string     `json:"version,omitempty"`
	TermsOfService string     `json:"terms_of_service,omitempty"`
	Limitation     Limitation `json:"limitation"`
}

// Limitation is NIP-11's limitation.
type Limitation struct {
	MaxMessageLength    int   `json:"max_message_length"` // bytes
	MaxSubscriptions    int   `json:"max_subscriptions"`
	MaxSubIDLength      int   `json:"max_subid_length"`
	MaxLimit            int   `json:"max_limit"`
	DefaultLimit        int   `json:"default_limit"`
	MaxEventTags        int   `json:"max_event_tags"`
	MaxContentLength    int   `json:"max_content_length"` // unicode characters
	MinPowDifficulty    int   `json:"min_pow_difficulty"`
	AuthRequired        bool  `json:"auth_required"`
	PaymentRequired     bool  `json:"payment_required"`
	RestrictedWrites    bool  `json:"restricted_writes"`
	CreatedAtLowerLimit int64 `json:"created_at_lower_limit,omitempty"` // seconds before now
	CreatedAtUpperLimit int64 `json:"created_at_upper_limit"`           // seconds after now
}

// Info is the NIP-11 document of what is really enabled now.
func (r *Relay) Info() Document {
	about, lim := r.cfg.About, r.limits()
	doc := Document{
		Name: about.Name, Description: about.Description, Banner: about.Banner, Icon: about.Icon,
		PubKey: about.PubKey, Self: about.Self, Contact: about.Contact, SupportedNIPs: r.nips(),
		Software: about.Software, Version: about.Version, TermsOfService: about.TermsOfService,
		Limitation: Limitation{
			MaxMessageLength: lim.MaxMessage, MaxSubscriptions: lim.MaxSubscriptions, MaxSubIDLength: lim.MaxSubID,
			MaxLimit: lim.MaxLimit, DefaultLimit: lim.DefaultLimit, MaxEventTags: lim.MaxTags, MaxContentLength: lim.MaxContent,
			MinPowDifficulty: lim.MinPow, AuthRequired: lim.AuthToRead,
			RestrictedWrites:    lim.AuthToWrite || lim.MinPow > 0,
			CreatedAtLowerLimit: int64(lim.MaxPast.Seconds()), CreatedAtUpperLimit: int64(lim.MaxFuture.Seconds()),
		},
	}
	or(&doc.Name, "agora")
	if r.manage != nil {
		r.overrule(&doc)
	}
	return doc
}

// overrule puts in what administrators have changed.
func (r *Relay) overrule(doc *Document) {
	changed := r.manage.Info()
	if changed.Name != "" {
		doc.Name = changed.Name
	}
	if changed.Description != "" {
		doc.Description = changed.Description
	}
	if changed.Icon != "" {
		doc.Icon = changed.Icon
	}
	doc.Limitation.RestrictedWrites = doc.Limitation.RestrictedWrites || r.manage.RestrictedWrites()
}

// nips lists what the relay itself does for clients, and no more: kinds that
// are merely stored are not its doing.
func (r *Relay) nips() []int {
	list := []int{1, 9, 11, 13, 17, 40, 42, 45, 59, 62, 67, 70}
	if r.search != nil || len(r.sources) > 0 {
		list = append(list, 50)
	}
	if r.negentropy() {
		list = append(list, 77)
	}
	if r.manage != nil {
		list = append(list, 86)
		if r.manage.Membership() {
			list = append(list, 43)
		}
	}
	slices.Sort(list)
	return list
}

// infoBehind is the document of a door: what about leaves empty is as on the
// root.
func (r *Relay) infoBehind(door Door, about About) Document {
	doc := r.Info()
	if door == "/" {
		return doc
	}
	for _, field := range []struct {
		of   *string
		says string
	}{
		{&doc.Name, about.Name}, {&doc.Description, about.Description}, {&doc.Icon, about.Icon}, {&doc.Banner, about.Banner},
		{&doc.PubKey, about.PubKey}, {&doc.Self, about.Self}, {&doc.Contact, about.Contact}, {&doc.Software, about.Software},
		{&doc.Version, about.Version}, {&doc.TermsOfService, about.TermsOfService},
	} {
		if field.says != "" {
			*field.of = field.says
		}
	}
	or(&about.DefaultLimit, doc.Limitation.DefaultLimit)
	or(&about.MaxLimit, doc.Limitation.MaxLimit)
	doc.Limitation.DefaultLimit, doc.Limitation.MaxLimit = about.DefaultLimit, about.MaxLimit
	return doc
}

func (r *Relay) serveInfo(w http.ResponseWriter, req *http.Request, door Door, about About) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*, Authorization") // a star does not cover Authorization
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS")
	h.Set("Vary", "Accept")
	switch req.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet, http.MethodHead:
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, "the relay's document is for reading", http.StatusMethodNotAllowed)
		return
	}
	body, err := json.Marshal(r.infoBehind(door, about))
	if err != nil { // it is made of strings and numbers
		http.Error(w, "the document could not be written", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/nostr+json")
	_, _ = w.Write(body) // the client may have gone
}

// fromSource asks the sources for one filter as the client wrote it; f is the
// same with the limit that holds here. Invitations (NIP-43) are made on the
// spot.
func (r *Relay) fromSource(ctx context.Context, door Door, v viewer, f, written nostr.Filter) (page Page, mine bool, err error) {
	if r.manage != nil {
		if page, mine, err = r.manage.selectInvite(v, f); mine || err != nil {
			return page, mine, err
		}
	}
	who := ""
	if len(v) > 0 {
		who = v[0]
	}
	for _, src := range r.sources {
		if page, mine, err = src.Select(ctx, door, who, written); mine || err != nil {
			if err == nil && page.Refusal != nil {
				err = &notAnswered{page.Refusal.Prefix, page.Refusal.Text}
			}
			return page, mine, err
		}
	}
	return Page{}, false, nil
}
