// Numbers and times in words.

/** How long ago, short: 5m, 3h, 2d, or a date. now and at are Unix seconds. */
export function ago(at: number, now: number): string {
  const s = now - at
  if (s < -60) return 'later'
  if (s < 60) return 'now'
  if (s < 3600) return `${Math.floor(s / 60)}m`
  if (s < 86_400) return `${Math.floor(s / 3600)}h`
  if (s < 30 * 86_400) return `${Math.floor(s / 86_400)}d`
  return date(at)
}

const day = new Intl.DateTimeFormat('en', { year: 'numeric', month: 'short', day: 'numeric' })
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' })

/** A client's clock may hold any number; a date that is none is said to be unknown. */
function format(at: number, form: Intl.DateTimeFormat): string {
  const d = new Date(at * 1000)
  return Number.isNaN(d.getTime()) ? 'at an unknown time' : form.format(d)
}

export const date = (at: number): string => format(at, day)
export const fullDate = (at: number): string => format(at, moment)

export function isoDate(at: number): string {
  const d = new Date(at * 1000)
  return Number.isNaN(d.getTime()) ? '' : d.toISOString()
}

const plain = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

export const number = (v: number): string => plain.format(v)

export const count = (n: number, one: string, many = `${one}s`): string => `${n.toLocaleString('en')} ${n === 1 ? one : many}`

/** What a model saw, with its unit where the feature's name tells one. */
export function valueInWords(feature: string, v: number): string {
  if (/[._]hours$/.test(feature)) return duration(v)
  if (/\.(is|has)_/.test(feature)) return v ? 'yes' : 'no'
  if (/_(share|probability)$|\.probability$/.test(feature) && v >= 0 && v <= 1) return `${number(v * 100)} %`
  if (/msat$/.test(feature)) return count(Math.round(v / 1000), 'sat')
  return number(v)
}

/** A length of time, given in hours. */
export function duration(hours: number): string {
  const h = Math.abs(hours)
  if (h < 1) return count(Math.round(h * 60), 'minute')
  if (h < 48) return count(Math.round(h), 'hour')
  if (h < 24 * 730) return count(Math.round(h / 24), 'day')
  return count(Math.round(h / 24 / 365.25), 'year')
}

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** A knob's name as people say it. */
export const knobName = (name: string): string => capital(name).replaceAll('_', ' ')

const failures: Record<string, string> = {
  runtime: 'this relay cannot run models at the moment',
  admission: 'its model is not admitted here',
  unloadable: 'its model cannot be loaded',
  late: 'its model took too long',
  length: 'its model gave a wrong number of scores',
  nan: 'its model gave scores that are no numbers',
  failed: 'its model failed',
}

/** Why a ranker did not answer, out of the relay's word for it. */
export const failure = (reason: string): string => failures[reason] ?? reason

/** A sentence out of an error's text. */
export const sentence = (text: string): string => (text ? capital(/[.!?…]$/.test(text) ? text : `${text}.`) : '')

/** How strongly a share of the whole weighed. */
export function strength(share: number): string {
  if (share > 0.5) return 'most of all'
  if (share > 0.25) return 'strongly'
  if (share > 0.1) return 'somewhat'
  return 'a little'
}
