package graph

import (
	"testing"
	"time"
)

func TestEyesSayWhatLiesBetweenViewerAndAuthor(t *testing.T) {
	h, p := newHouse(t, Config{}), people(6)
	me, friend, beyond, far, muted, fan := p[0], p[1], p[2], p[3], p[4], p[5]
	h.put(
		me.sign(t, kindFollows, 100, "", naming(friend, muted)...),
		friend.sign(t, kindFollows, 100, "", naming(beyond, me, muted)...),
		beyond.sign(t, kindFollows, 100, "", naming(far)...),
		fan.sign(t, kindFollows, 100, "", naming(me, friend)...),
		me.sign(t, kindMutes, 100, "", naming(muted)...),
	)
	h.settle()
	for end := time.Now().Add(time.Minute); h.graph.Eyes("").Known(friend.pubkey).FollowersTrust == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 20 s: a global ranking that knows the friend's followers")
		}
	}
	e := h.graph.Eyes(me.pubkey)
	for _, c := range []struct {
		who  person
		want Between
	}{
		{friend, Between{Hops: 1, Follows: true, FollowedBy: true, Common: 1, Either: 4}},
		{beyond, Between{Hops: 2, Either: 3}},
		{far, Between{Hops: 3, Either: 2}},
		{muted, Between{Hops: 1, Follows: true, Muted: true, Either: 2}},
		{fan, Between{FollowedBy: true, Common: 1, Either: 3}},
	} {
		got := e.Toward(c.who.pubkey)
		got.Trust = 0
		if got != c.want {
			t.Errorf("toward %s: %+v, want %+v", c.who.pubkey[:6], got, c.want)
		}
	}
	if e.Toward(muted.pubkey).Trust != 0 || e.Toward(friend.pubkey).Trust == 0 {
		t.Error("a muted key is trusted, or a followed one is not")
	}
	k := e.Known(friend.pubkey)
	if k.Followers != 2 || k.Follows != 3 || k.FollowersTrust <= 0 {
		t.Errorf("known of a friend: %+v", k)
	}
	if nobody := h.graph.Eyes(""); nobody.Toward(friend.pubkey).Follows || nobody.Known(me.pubkey).Followers != 2 {
		t.Error("an empty viewer follows somebody, or does not know what all know")
	}
}
