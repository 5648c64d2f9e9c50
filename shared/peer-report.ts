/**
 * What another device reported, in our words: it has no say in the code, so none in the exit code and the hint that
 * people see.
 */
import { type ErrorReport, MeshError } from './errors.ts'
import { oneLine } from './text.ts'

/** For people: rank and name of the device. */
export interface PeerName {
  readonly rank: number
  readonly name: string
}

/** Characters of its words that are shown. */
const saidLength = 300

const quoted = (text: string): string => {
  const said = oneLine(text).replaceAll('"', "'")
  return `"${said.length > saidLength ? `${said.slice(0, saidLength)}...` : said}"`
}

interface Report extends Pick<ErrorReport, 'message'> {
  readonly code: string
  readonly fields?: ErrorReport['fields']
}

/** @returns `rankFailed` when it could not compute, else `peerFailed`; its words are quoted */
export const reportedBy = ({ rank, name }: PeerName, { code, message, fields }: Report): MeshError =>
  code === 'rankFailed' || code === 'backendFailed'
    ? new MeshError('rankFailed', { peer: name, rank, problem: quoted(String(fields?.problem ?? message)) })
    : new MeshError('peerFailed', { peer: name, rank, said: quoted(message) })
