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

/** A feature's name as people say it: author.followers_trust -> author: followers trust. */
export function featureName(name: string): string {
  const [room = '', ...rest] = name.split('.')
  return rest.length ? `${room}: ${rest.join(' ').replaceAll('_', ' ')}` : name.replaceAll('_', ' ')
}

/** A knob's name as people say it. */
export const knobName = (name: string): string => (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll('_', ' ')

/** How strongly a share of the whole weighed. */
export function strength(share: number): string {
  if (share > 0.5) return 'most of all'
  if (share > 0.25) return 'strongly'
  if (share > 0.1) return 'somewhat'
  return 'a little'
}
