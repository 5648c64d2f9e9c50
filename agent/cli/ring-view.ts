/** Rings as people read them: members and their columns, links, and what spot checks found. */
import { shortId } from '../../shared/ids.ts'
import type { RingNetwork, RingView } from '../../shared/schema/ring.ts'
import { oneLine } from '../../shared/text.ts'
import { formatBytes, formatDuration } from '../../shared/words.ts'
import type { Output } from './command.ts'
import { loadText } from './progress.ts'
import { paragraph, rangeText, table } from './render.ts'

type Member = RingView['members'][number]

/** Why the others go on without a member, and when it is tried again. */
export const leftOutText = (
  { state, error, leftOut }: Pick<Member, 'state' | 'error' | 'leftOut'>,
  now: number,
): string | undefined => {
  if (!leftOut) return undefined
  const again =
    state === 'loading'
      ? 'it is tried again now'
      : `tried again ${leftOut.retryAt > now ? `in ${formatDuration(leftOut.retryAt - now)}` : 'soon'}`
  return `left out: ${oneLine(error?.message ?? 'it failed')}; ${again}`
}

const stateOf = (member: Member, output: Pick<Output, 'isTTY'>, now: number): string => {
  const leftOut = leftOutText(member, now)
  if (leftOut !== undefined) return leftOut
  if (member.state === 'loading') return loadText(member, output)
  return member.error ? `${member.state}: ${member.error.message}` : member.state
}

const milliseconds = (ms: number): string => `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`
const megabits = (bytesPerSecond: number): string => {
  const value = (bytesPerSecond * 8) / 1e6
  return `${value < 100 ? Number(value.toPrecision(2)) : Math.round(value)} Mbit/s`
}

/** The links, and what their figures lead to. */
const networkText = (
  { links, slowest, collective, carrier, streamsReason, decode, prefill }: RingNetwork,
  columns: number,
): string => {
  const sums = [
    ['decode', decode],
    ['prefill', prefill],
  ] as const
  const why =
    collective === 'auto'
      ? `quickest for ${milliseconds(slowest.roundTripMs)} and ${megabits(slowest.bytesPerSecond)}`
      : `--collective ${collective}`
  const over =
    carrier === undefined ? '' : `, over ${carrier}${streamsReason === undefined ? '' : `: ${oneLine(streamsReason)}`}`
  const figures = table(
    ['link', 'round trip', 'bandwidth', 'path'],
    links.map(({ from, to, roundTripMs, bytesPerSecond, measured, path }) => [
      `${from} - ${to}`,
      measured ? milliseconds(roundTripMs) : `assumed ${milliseconds(roundTripMs)}`,
      megabits(bytesPerSecond),
      path ?? '-',
    ]),
    { columns },
  )
  return (
    figures +
    paragraph(
      'sums: ' +
        `${sums.map(([name, { bytes, algorithm }]) => `${name} ${formatBytes(bytes)} ${algorithm}`).join(', ')} ` +
        `(${why})${over}`,
      columns,
    )
  )
}

const percent = (part: number): string => `${part < 0.1 ? (part * 100).toFixed(2) : Math.round(part * 100)} %`

/** What others found of a member's sums, where somebody should know. */
export const sumsText = ({ name, sums }: Pick<Member, 'name' | 'sums'>): string | undefined => {
  if (sums?.problem !== undefined) return `the sums of ${name} cannot be checked: ${oneLine(sums.problem)}`
  if (sums?.verdict !== 'wrong' && sums?.verdict !== 'disputed') return undefined
  const by = sums.accusers.map((accuser) => accuser.name).join(', ')
  const figures = `${sums.wrong} of ${sums.checks} checks, off by up to ${percent(sums.worst)} (found by ${by})`
  if (sums.verdict === 'wrong')
    return (
      `the sums of ${name} are wrong: ${figures}; have its memory tested and Mesh installed anew there, ` +
      'or remove it'
    )
  return (
    `the sums of ${name} or what ${by} ${sums.accusers.length > 1 ? 'compute' : 'computes'} is wrong: ${figures}; ` +
    'a third device in the ring can tell which'
  )
}

/** Who is checked by how many. */
const checkedText = (ring: RingView): string => {
  const checked = ring.members.filter(({ rank, sums }) => rank !== undefined && sums !== undefined)
  if (checked.length === 0) return ''
  return (
    'spot checks of sums: ' +
    checked
      .map(
        ({ name, sums }) =>
          `${name} ${sums?.verdict === 'unchecked' ? 'not yet' : `${sums?.checks} (${sums?.verdict})`}`,
      )
      .join(', ')
  )
}

/** One ring as lines for people. */
export const ringText = (ring: RingView, output: Pick<Output, 'isTTY' | 'columns'>, now = Date.now()): string => {
  const { columns } = output
  const head = paragraph(
    `${ring.modelId} ${ring.quant}, epoch ${ring.epoch}: ` +
      `${ring.status}${ring.reason ? ` (${oneLine(ring.reason)})` : ''}`,
    columns,
  )
  const members = ring.members.toSorted((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity))
  const network = ring.network === undefined ? '' : networkText(ring.network, columns)
  const warnings = members
    .flatMap((member) => sumsText(member) ?? [])
    .map((text) => paragraph(text, columns))
    .join('')
  const checked = checkedText(ring)
  return (
    head +
    table(
      ['rank', 'device', 'name', 'state', 'share', 'kv heads', 'MLP columns', 'vocabulary', 'left', 'right'],
      members.map((member) => [
        member.rank === undefined ? '-' : String(member.rank),
        shortId(member.deviceId),
        member.name,
        stateOf(member, output, now),
        String(member.share),
        member.ranges ? rangeText(member.ranges.kvHeads) : '-',
        member.ranges ? rangeText(member.ranges.ffn) : '-',
        member.ranges ? rangeText(member.ranges.vocab) : '-',
        member.leftNeighbor ? shortId(member.leftNeighbor) : '-',
        member.rightNeighbor ? shortId(member.rightNeighbor) : '-',
      ]),
      { columns, below: ['left', 'right', 'share', 'vocabulary'] },
    ) +
    network +
    (checked === '' ? '' : paragraph(checked, columns)) +
    warnings
  )
}
