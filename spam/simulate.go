package spam

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Sample is a real text with what is known of it. Logit is the score of a
// model that never saw its campaign.
type Sample struct {
	Text     string  `json:"text"`
	Spam     int     `json:"spam"`
	Campaign string  `json:"campaign"`
	Logit    float64 `json:"logit"`

	Second *float64 `json:"second"` // the same of tier 1, where it is asked
}

// withSecond is the samples as tier 0 and 1 judge them together.
func withSecond(samples []Sample) []Sample {
	out := slices.Clone(samples)
	for i := range out {
		if out[i].Second != nil {
			out[i].Logit = *out[i].Second
		}
	}
	return out
}

// Arrival is one note of a simulated stream: a real text, and a made-up key,
// time and standing, for the corpora carry none.
type Arrival struct {
	Sample  int // index of the text; negative: Text is made up
	Text    string
	Spam    bool
	Burst   bool
	Seq     int // of a burst: the how manieth
	Within2 bool
	arrival
	past    Past
	reports float32 // trust of those who complained of the key before
}

// person is the made-up author of ham.
type person struct {
	key   uint64
	who   Standing
	past  Past
	index int

	reports float32
}

const simulated = 1_700_000_000 // when each stream begins, Unix seconds

// crowdOf makes the authors of ham: 45 % within two hops of the operator's
// seeds, 25 % further out, 30 % unknown to the graph, half of those with a key
// younger than a day. On a blind relay all are unknown, and three in five new.
func crowdOf(rng *rand.Rand, n int, blind bool) []person {
	all := make([]person, n)
	for i := range all {
		p := &all[i]
		p.key, p.index = rng.Uint64()|1, i
		age := int64(rng.ExpFloat64() * 90 * 86400)
		switch dice := rng.Float64(); {
		case dice < 0.45:
			p.who = Standing{Trust: 0.15 + 0.7*rng.Float32(), Hops: 1 + rng.IntN(2)}
		case dice < 0.70:
			p.who = Standing{Trust: 0.3 * rng.Float32(), Hops: 3 + rng.IntN(2)}
		default:
			p.who.Hops = -1
			if rng.IntN(2) == 0 {
				age = int64(rng.Float64() * 86400)
			}
		}
		if blind {
			p.who = Standing{Hops: -1, Blind: true}
		}
		p.past = Past{First: simulated - age, Profile: rng.Float64() < 0.85, NIP05: rng.Float64() < 0.35}
		p.reports = complaints(rng, 0.005)
		if p.who.Hops < 0 {
			p.past.Profile, p.past.NIP05 = rng.Float64() < 0.6, rng.Float64() < 0.1
		}
		if blind && rng.Float64() < 0.6 {
			p.past.First = 0
		}
	}
	return all
}

// complaints is the trust of those who have reported a key: of a share of the
// keys, one or two people of some standing.
func complaints(rng *rand.Rand, share float64) float32 {
	if rng.Float64() >= share {
		return 0
	}
	return 0.2 + 0.8*rng.Float32()
}

// Stream lays the samples out over two days. Ham comes from a crowd with a few
// busy and many quiet authors; what begins with the same dozen letters four
// times and more is a program's, which has one key. Of the campaigns a third come from one key, a
// third from a handful, a third from a fresh key each time, in bursts of minutes
// or over hours; four in five of their keys are fresh, a third have a profile. A
// blind stream is that of a relay whose graph knows nobody.
func Stream(seed uint64, samples []Sample, blind bool) []Arrival {
	rng := rand.New(rand.NewPCG(seed, 1))
	people := crowdOf(rng, max(10, len(samples)/4), blind)
	programs := programsOf(samples)
	byCampaign := map[string][]int{}
	var names []string
	var out []Arrival
	for i, s := range samples {
		if s.Spam == 1 {
			if byCampaign[s.Campaign] == nil {
				names = append(names, s.Campaign)
			}
			byCampaign[s.Campaign] = append(byCampaign[s.Campaign], i)
			continue
		}
		p := &people[int(float64(len(people))*rng.Float64()*rng.Float64())]
		if n := programs[opening(s.Text)]; n > 0 {
			p = &people[n%len(people)]
		}
		out = append(out, p.says(rng, i, simulated+rng.Int64N(2*86400)))
	}
	for _, name := range names {
		out = append(out, campaignOf(rng, byCampaign[name], blind)...)
	}
	slices.SortStableFunc(out, func(a, b Arrival) int { return int(a.At - b.At) })
	return out
}

// opening is how a text begins, but for digits; nothing for a short one and
// for a link.
func opening(text string) string {
	if strings.HasPrefix(text, "http") {
		return ""
	}
	o := make([]byte, 0, 12)
	for i := 0; i < len(text) && len(o) < 12; i++ {
		if text[i] < '0' || text[i] > '9' {
			o = append(o, text[i])
		}
	}
	if len(o) < 12 {
		return ""
	}
	return string(o)
}

// programsOf numbers the openings of ham that come four times and more.
func programsOf(samples []Sample) map[string]int {
	times, numbers := map[string]int{}, map[string]int{}
	for _, s := range samples {
		o := opening(s.Text)
		if s.Spam == 1 || o == "" {
			continue
		}
		if times[o]++; times[o] == 4 {
			numbers[o] = 1 + len(numbers)
		}
	}
	return numbers
}

func (p *person) says(rng *rand.Rand, sample int, at int64) Arrival {
	meets := 0
	if rng.Float64() < 0.15 {
		meets = 1
	}
	return Arrival{
		Sample: sample, past: p.past, reports: p.reports, Within2: p.who.Hops >= 0 && p.who.Hops <= 2,
		arrival: arrival{Key: p.key, At: at, Who: p.who, Meets: meets, Bits: 20 * one(rng.Float64() < 0.03)},
	}
}

// campaignOf gives one campaign its keys and times.
func campaignOf(rng *rand.Rand, samples []int, blind bool) []Arrival {
	keys := len(samples)
	switch rng.IntN(3) {
	case 0:
		keys = 1
	case 1:
		keys = min(keys, 2+rng.IntN(6))
	}
	spammers := make([]person, keys)
	for i := range spammers {
		spammers[i] = spammer(rng, blind)
	}
	begin, gap := simulated+rng.Int64N(36*3600), []float64{2, 20, 200}[rng.IntN(3)]
	meets := one(rng.Float64() < 0.5)
	var out []Arrival
	at := float64(begin)
	for _, s := range samples {
		at += rng.ExpFloat64() * gap
		p := spammers[rng.IntN(keys)]
		out = append(out, Arrival{Sample: s, Spam: true, past: p.past, reports: p.reports, arrival: arrival{Key: p.key, At: int64(at), Who: p.who, Meets: meets * (1 + rng.IntN(2))}})
	}
	return out
}

func spammer(rng *rand.Rand, blind bool) person {
	p := person{key: rng.Uint64() | 1, who: Standing{Hops: -1, Blind: blind}, reports: complaints(rng, 0.1), past: Past{Profile: rng.Float64() < 0.35, NIP05: rng.Float64() < 0.03}}
	if rng.Float64() > 0.8 {
		p.past.First = simulated - int64(rng.ExpFloat64()*30*86400)
	}
	return p
}

// Burst mixes notes by as many fresh keys, paraphrased by template and synonym,
// one to twenty into the ham of samples, whose authors repeat themselves where
// the ham does not suffice.
func Burst(seed uint64, samples []Sample, notes int, templates []string, blind bool) []Arrival {
	rng := rand.New(rand.NewPCG(seed, 2))
	var ham []int
	for i, s := range samples {
		if s.Spam == 0 {
			ham = append(ham, i)
		}
	}
	people := crowdOf(rng, max(10, len(ham)/2), blind)
	author := make([]int, len(ham))
	programs := programsOf(samples)
	for i := range author {
		author[i] = int(float64(len(people)) * rng.Float64() * rng.Float64())
		if n := programs[opening(samples[ham[i]].Text)]; n > 0 {
			author[i] = n % len(people)
		}
	}
	say := paraphraser(rng, templates)
	var out []Arrival
	at := float64(simulated)
	for i := range notes * 21 {
		at += rng.ExpFloat64() * 0.5
		if i%21 == 20 {
			p := spammer(rng, blind)
			p.past.First, p.reports = 0, 0
			out = append(out, Arrival{Sample: -1, Text: say(), Spam: true, Burst: true, Seq: i / 21, past: p.past,
				arrival: arrival{Key: p.key, At: int64(at), Who: p.who, Meets: rng.IntN(2)}})
			continue
		}
		k := rng.IntN(len(ham))
		out = append(out, people[author[k]].says(rng, ham[k], int64(at)))
	}
	return out
}

// Templates of bursts; words in braces are synonyms. Ours, not anybody's post.
// The first two take part in fitting the head, the others only in measuring it.
var burstTemplates = [...]string{
	"{Hello|Hi|Hey|Greetings} {friends|everyone|all|folks}, {claim|collect|grab|take} your {free|bonus|gift} {tokens|coins|sats} {now|today|right now} at {site} before the {event|offer|campaign} {ends|closes|is over}. {Only|Just} {one|a single} {wallet|account} {per person|each|per user} {is allowed|is accepted|may join}!",
	"{Earn|Make|Receive} {daily|weekly|steady} {profit|income|returns} with our {trusted|verified|proven} {trading|mining|investment} {platform|service|team}. {Contact|Message|Write to} {our manager|the admin|our expert} {today|now} and {start|begin} {growing|building} your {portfolio|wallet|savings} {safely|without risk|quickly}.",
	"{I lost|They stole} my {wallet|coins|savings} and {this team|these experts|this agent} {recovered|got back|returned} {everything|all of it|the full amount} {within|in} {two days|hours|a week}. {Reach|Contact|Write} {them|the desk} at {site}, {fast|quick} and {reliable|honest|professional} {recovery|refund} {service|help}.",
	"{点击|打开|访问}{链接|网址|下方}{领取|获得|免费拿}{红包|空投|奖励}，{新人|新用户|朋友们}{注册|加入|登录}{即送|马上得|就有}{现金|代币|积分}，{名额|数量}{有限|不多}，{先到先得|赶快|欲领从速} {site}",
	"{I think|Honestly|To me} {this|the new} {protocol|network|app} is {great|wonderful|amazing} and {more people|all my friends|everybody} should {join|try|use} it {soon|this week|today}; {follow|watch} {my page|my channel|this account} for {daily|fresh|regular} {updates|news|tips} about {freedom|privacy|decentralised life}.",
	"{Как|Легко} {заработать|получить} {деньги|доход} {дома|из дома|онлайн}: {простая|надежная} {работа|схема} {каждый день|ежедневно}, {выплаты|вывод} {сразу|без задержек|на карту}. {Пишите|Обращайтесь} {в личку|в телеграм|менеджеру}, {места|количество мест} {ограничены|ограничено}",
}

// paraphraser picks one template and says it anew each time.
func paraphraser(rng *rand.Rand, templates []string) func() string {
	template := templates[rng.IntN(len(templates))]
	site := fmt.Sprintf("https://%c%c%d-bonus.example/%d", 'a'+rng.IntN(26), 'a'+rng.IntN(26), rng.IntN(90)+10, rng.IntN(1e6))
	return func() string {
		var b strings.Builder
		rest := template
		for {
			before, after, found := strings.Cut(rest, "{")
			b.WriteString(before)
			if !found {
				return b.String()
			}
			choice, tail, _ := strings.Cut(after, "}")
			options := strings.Split(choice, "|")
			if choice == "site" {
				options = []string{site}
			}
			b.WriteString(options[rng.IntN(len(options))])
			rest = tail
		}
	}
}
