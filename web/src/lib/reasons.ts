// What a model saw of a note, as a person would say it. The catalogue's own
// definitions are exact and stand behind it; a feature that has no sentence
// here is told in the catalogue's words.
import { capital, count, duration, number, valueInWords } from './words'

type Say = (v: number, part: string) => string

const acts: Record<string, [one: string, did: string]> = {
  likes: ['like', 'liked it'],
  dislikes: ['dislike', 'disliked it'],
  emoji: ['emoji', 'put an emoji on it'],
  replies: ['reply', 'answered it'],
  reposts: ['repost', 'reposted it'],
  quotes: ['quote', 'quoted it'],
  zaps: ['zap', 'zapped it'],
  reports: ['report', 'reported it'],
}
const did = (part: string): string => acts[part]?.[1] ?? part

const keys = (v: number): string => (v < 0.5 ? 'nobody' : count(Math.round(v), 'account'))
const share = (v: number): string => `${number(v * 100)} %`
const weight = (v: number): string => (v === 0 ? 'none' : number(v))
const yes =
  (is: string, isNot: string): Say =>
  v =>
    v ? is : isNot

/** Sentences by the feature's name; a parenthesis in the pattern is `part`. */
const sentences: [RegExp, Say][] = [
  [/^note\.age_hours$/, v => `it was written ${duration(v)} ago`],
  [/^note\.is_(.+)$/, (v, part) => `it is ${v ? (/^[aeiou]/.test(part) ? 'an' : 'a') : 'no'} ${part === 'text' ? 'short note' : part}`],
  [/^note\.content_warning$/, yes('its author marked it as sensitive', 'it carries no content warning')],
  [/^note\.since_last_seen$/, yes('it was written since your last visit', 'it was there at your last visit')],
  [/^note\.people\.(\w+)$/, (v, part) => `proven people who ${did(part)}: ${number(v)}`],
  [/^note\.jitter$/, () => 'a daily shuffle that breaks ties'],
  [/^text\.words$/, v => `it has ${count(Math.round(v), 'word')}`],
  [/^text\.characters$/, v => `it has ${count(Math.round(v), 'character')}`],
  [/^text\.lines$/, v => `it has ${count(Math.round(v), 'line')}`],
  [/^text\.question$/, yes('it asks a question', 'it asks nothing')],
  [/^text\.emoji$/, v => `it has ${count(Math.round(v), 'emoji', 'emoji')}`],
  [/^text\.capitals_share$/, v => `${share(v)} of its letters are capitals`],
  [/^media\.images$/, v => `it has ${count(Math.round(v), 'picture')}`],
  [/^media\.videos$/, v => `it has ${count(Math.round(v), 'video')}`],
  [/^media\.links$/, v => `it has ${count(Math.round(v), 'link')}`],
  [/^media\.hashtags$/, v => `it has ${count(Math.round(v), 'hashtag')}`],
  [/^media\.mentions$/, v => `it mentions ${keys(v)}`],
  [/^thread\.is_reply$/, yes('it answers another note', 'it begins a conversation')],
  [/^thread\.depth$/, v => (v ? `${count(Math.round(v), 'note')} above it in the conversation` : 'it begins a conversation')],
  [/^thread\.siblings$/, v => `${count(Math.round(v), 'other answer')} to the same note`],
  [/^thread\.to_viewer$/, yes('it answers a note of the reader', 'it does not answer the reader')],
  [/^author\.trust$/, v => `this relay's trust in its author: ${share(v)}`],
  [/^author\.followers$/, v => `${keys(v)} here ${Math.round(v) === 1 || v < 0.5 ? 'follows' : 'follow'} its author`],
  [/^author\.followers_trust$/, v => `trust in those who follow its author: ${weight(v)}`],
  [/^author\.follows$/, v => `its author follows ${keys(v)}`],
  [/^author\.mute_share$/, v => (v ? `${share(v)} of those who know its author mute them` : 'nobody trusted mutes its author')],
  [/^author\.report_share$/, v => (v ? `${share(v)} of those who know its author report them` : 'nobody trusted reports its author')],
  [/^author\.age_days$/, v => `its author has been here for ${duration(v * 24)}`],
  [/^author\.notes_per_day$/, v => `its author writes ${number(v)} notes a day`],
  [/^author\.notes_24h$/, v => `its author wrote ${count(Math.round(v), 'note')} in a day`],
  [/^author\.newer_notes$/, v => (v ? `its author has written ${count(Math.round(v), 'note')} since` : "it is its author's newest note")],
  [/^author\.likes_per_note$/, v => `trusted likes that its author's notes get: ${weight(v)} each`],
  [/^author\.replies_per_note$/, v => `trusted replies that its author's notes get: ${weight(v)} each`],
  [/^pair\.trust$/, v => `your trust in its author, by whom you follow: ${share(v)}`],
  [/^pair\.follows$/, yes('you follow its author', 'you do not follow its author')],
  [/^pair\.followed_by$/, yes('its author follows you', 'its author does not follow you')],
  [/^pair\.mutual$/, yes('you and its author follow each other', 'you and its author do not follow each other')],
  [/^pair\.common_follows$/, v => `you and its author both follow ${keys(v)}`],
  [/^pair\.hops$/, v => (v === 1 ? 'you follow its author' : v ? `its author is ${count(Math.round(v), 'follow')} away from you` : 'no follows lead from you to its author')],
  [/^pair\.interest$/, v => `its author is liked by those who like what you like: ${share(v)}`],
  [/^pair\.(likes|replies|reposts|zaps)_\d+d$/, (v, part) => (v < 0.01 ? `lately you gave its author no ${part}` : `your ${part} for its author lately: ${number(v)}`)],
  [/^pair\.inbound_\d+d$/, v => (v < 0.01 ? 'its author did nothing with your notes lately' : `what its author did with your notes lately: ${number(v)}`)],
  [/^proof\.(\w+s|emoji)$/, (v, part) => `${v < 0.5 ? 'nobody' : count(Math.round(v), 'person', 'people')} you follow ${did(part)}`],
  [/^proof\.trust$/, v => `your trust in those who did something with it: ${weight(v)}`],
  [/^proof\.acted$/, yes('you did something with it', 'you did nothing with it yet')],
  [/^proof\.seen$/, yes('you were shown it before', 'you were not shown it before')],
  [/^count\.(\w+)_trust$/, (v, part) => (v ? `trust in those who ${did(part)}: ${number(v)}` : `nobody this relay trusts ${did(part)}`)],
  [/^count\.(\w+)_viewer$/, (v, part) => (v ? `your trust in those who ${did(part)}: ${number(v)}` : `nobody you trust ${did(part)}`)],
  [/^count\.(\w+)$/, (v, part) => `${keys(v)} ${did(part)}`],
  [/^rate\.keys_(\d+[mh])$/, (v, part) => `accounts that act on it, over ${part}: ${number(v)} an hour`],
  [/^rate\.trust_(\d+[mh])$/, (v, part) => `trusted support that comes in, over ${part}: ${weight(v)} an hour`],
  [/^zap\.msat$/, v => `it was zapped ${count(Math.round(v / 1000), 'sat')}`],
  [/^duplicate\.notes$/, v => (v ? `${count(Math.round(v), 'note')} here say nearly the same` : 'no other note says the same')],
  [/^spam\.probability$/, v => `how likely it is spam: ${share(v)}`],
  [/^spam\.ai_probability$/, v => `how likely a machine wrote it: ${share(v)}`],
  [/^person\.author$/, yes('its author proved to be one person', 'its author has not proved to be a person')],
  [/^source\.follows$/, yes('somebody you follow wrote it', 'nobody you follow wrote it')],
  [/^source\.trusted$/, yes('people you follow did something with it', 'nobody you follow did anything with it')],
  [/^source\.colikers$/, yes('it is liked by those who like what you like', 'it is not liked by those who like what you like')],
  [/^source\.recent$/, yes('it is among the newest notes', 'it is not among the newest notes')],
  [/^source\.global$/, yes('it is among the notes most acted upon', 'it is not among the notes most acted upon')],
  [/^source\.new_author$/, yes('its author is new or little known', 'its author is known here')],
]

/** A sentence that says what the model saw. words is the catalogue's definition. */
export function reasonInWords(feature: string, value: number, words: string): string {
  for (const [form, say] of sentences) {
    const found = form.exec(feature)
    if (found) return capital(say(value, found[1] ?? ''))
  }
  return `${capital(words || feature)}: ${valueInWords(feature, value)}`
}
