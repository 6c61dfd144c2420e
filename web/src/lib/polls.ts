// A poll (NIP-88) as the relay counts it.
import { get } from './api'
import { asList, asNumber, asText, asTexts, isRecord } from './json'
import { clean } from './text'

export interface Poll {
  state: string // open, ended or closed
  method: string
  endsAt: number // Unix seconds; 0: never
  people: boolean // whether people are counted, and not keys
  crowd: number // among how many each voter hides; 0: not told
  small: boolean // so few that a voter may be guessed
  hidden: boolean // the poll asks to show no count yet
  notice: string
}

export interface Count {
  certified: boolean // the host has signed which ballots count
  people: Result
  keys: Result
}

export interface Result {
  ballots: number
  options: { label: string; ballots: number; votes: string }[] // votes: where they are not just ballots
  leading: string[] // labels
}

export async function fetchPoll(id: string): Promise<Poll> {
  const body = await get(`/v1/polls/${id}`)
  const p = isRecord(body) ? body : {}
  const group = isRecord(p.group) ? p.group : {}
  return {
    state: asText(p.state),
    method: clean(asText(p.method), 20),
    endsAt: asNumber(p.ends_at),
    people: p.counts === 'people',
    crowd: asNumber(group.crowd),
    small: group.small === true,
    hidden: p.hidden === true,
    notice: clean(asText(p.notice), 300),
  }
}

export async function fetchCount(id: string): Promise<Count> {
  const body = await get(`/v1/polls/${id}/tally`)
  const c = isRecord(body) ? body : {}
  return { certified: c.certified === true, people: readResult(c.people), keys: readResult(c.keys) }
}

function readResult(v: unknown): Result {
  const r = isRecord(v) ? v : {}
  const options = asList(r.options).filter(isRecord)
  const label = (o: Record<string, unknown>): string => clean(asText(o.label), 120) || clean(asText(o.id), 64)
  const leading = new Set(asTexts(r.leading))
  return {
    ballots: asNumber(r.ballots),
    options: options.slice(0, 128).map(o => ({ label: label(o), ballots: asNumber(o.ballots), votes: clean(asText(o.votes), 20) })),
    leading: options.filter(o => leading.has(asText(o.id))).map(label),
  }
}
