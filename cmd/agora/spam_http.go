package main

import (
	"context"
	"net/http"

	"agora/httpapi"
	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
)

// spamAnswer is what GET /v1/spam/{id} and the commands say of one note.
type spamAnswer struct {
	ID       string        `json:"id,omitempty"`
	Spam     float64       `json:"spam"`
	Scam     float64       `json:"scam"`
	AI       float64       `json:"ai"`
	Limit    float64       `json:"threshold"` // of spam, above which a note is suspect
	Suspect  bool          `json:"suspect"`
	Sure     bool          `json:"sure"`
	Script   string        `json:"script,omitempty"`
	Reasons  []spam.Reason `json:"reasons"`
	Labels   []string      `json:"labels,omitempty"` // as stored beside the event
	Refused  bool          `json:"refused,omitempty"`
	Granted  bool          `json:"granted,omitempty"`   // the operator has granted its appeal: it is neither hidden nor marked any more
	TextOnly bool          `json:"text_only,omitempty"` // judged now, without what came before it
	Model    string        `json:"model,omitempty"`
}

func answerOf(id string, v *spam.Verdict) spamAnswer {
	return spamAnswer{
		ID: id, Spam: v.Spam, Scam: v.Scam, AI: v.AI, Limit: v.Threshold, Suspect: v.Suspect, Sure: v.Sure, Script: v.Script,
		Reasons: append([]spam.Reason{}, v.Reasons()...),
	}
}

// spamDoor lets authors see the verdicts on their own notes.
type spamDoor struct {
	part *spamPart
	core *core
}

func (d *spamDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		httpapi.Fail(w, http.StatusMethodNotAllowed, "only GET")
		return
	}
	reader, err := d.core.auth.Check(r, nil)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Nostr")
		httpapi.Fail(w, http.StatusUnauthorized, err.Error())
		return
	}
	id, err := noteID(r.PathValue("id"))
	if err != nil {
		httpapi.Fail(w, http.StatusBadRequest, err.Error())
		return
	}
	answer, author, err := d.find(r, id)
	if err != nil {
		d.core.log.Error("verdict", "event", id, "err", err)
		httpapi.Fail(w, http.StatusInternalServerError, "could not look this up now")
		return
	}
	if author == "" || author != reader { // the same answer for both: whether it exists is nobody else's business
		httpapi.Fail(w, http.StatusNotFound, "no note of yours with this id was judged here")
		return
	}
	httpapi.Reply(w, http.StatusOK, answer)
}

func (d *spamDoor) find(r *http.Request, id store.ID) (answer spamAnswer, author string, err error) {
	if d.part == nil || d.part.judge == nil {
		return answer, "", nil
	}
	if by, v, ok := d.part.gate.Refused(id.String()); ok {
		answer = answerOf(id.String(), &v)
		answer.Refused, answer.Model = true, d.part.judge.Model().Digest
		answer.Granted = d.part.desk.Granted(answer.ID)
		return answer, by, nil
	}
	ev, err := eventOf(r, d.core.store, id)
	if err != nil || ev == nil {
		return answer, "", err
	}
	answer, err = verdictOn(d.part.judge, d.core.store, id, ev)
	answer.Granted = d.part.desk.Granted(answer.ID)
	return answer, ev.PubKey, err
}

func eventOf(r *http.Request, st *store.Store, id store.ID) (ev *nostr.Event, err error) {
	lookupErr := st.Lookup(r.Context(), []store.ID{id}, func(rec store.Record) bool {
		ev, err = rec.Event()
		return false
	})
	if lookupErr != nil {
		return nil, lookupErr
	}
	return ev, err
}

// verdictOn is what was stored beside an event when it came, or, where nothing
// was, what its text alone says now.
func verdictOn(judge *spam.Classifier, st *store.Store, id store.ID, ev *nostr.Event) (spamAnswer, error) {
	v := judge.Text(context.Background(), ev.Content, nil)
	answer := answerOf(ev.ID, &v)
	answer.Model = judge.Model().Digest
	labels, err := st.Labels(id)
	if err != nil {
		return answer, err
	}
	answer.TextOnly = true
	for _, l := range labels {
		switch l.Namespace {
		case spam.Namespace:
			if answer.TextOnly {
				answer.TextOnly, answer.Reasons = false, []spam.Reason{}
			}
			answer.Labels = append(answer.Labels, l.Value)
			if l.Value == spam.LabelSpam {
				answer.Spam = float64(l.Score)
			}
		case spam.Why:
			answer.Reasons = append(answer.Reasons, spam.Reason{What: l.Value, Weight: float64(l.Score)})
		}
	}
	return answer, nil
}
