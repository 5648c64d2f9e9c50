import { shortId } from '../../../shared/ids.ts'
import type { RingView } from '../../../shared/schema/ring.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { printJson, rangeText, table } from '../render.ts'
import { openSession } from '../session.ts'

type Member = RingView['members'][number]

const stateOf = (member: Member): string => {
  if (member.state === 'loading') return `loading ${Math.round(member.progress * 100)}%`
  return member.error ? `${member.state}: ${member.error.message}` : member.state
}

/** One ring as lines for people. */
export const ringText = (ring: RingView): string => {
  const head = `${ring.modelId} ${ring.quant}, epoch ${ring.epoch}: ${ring.status}${ring.reason ? ` (${ring.reason})` : ''}\n`
  const members = ring.members.toSorted((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity))
  return head + table(['rank', 'device', 'name', 'state', 'share', 'kv heads', 'MLP columns', 'vocabulary', 'left', 'right'], members.map((member) => [
    member.rank === undefined ? '-' : String(member.rank),
    shortId(member.deviceId),
    member.name,
    stateOf(member),
    String(member.share),
    member.ranges ? rangeText(member.ranges.kvHeads) : '-',
    member.ranges ? rangeText(member.ranges.ffn) : '-',
    member.ranges ? rangeText(member.ranges.vocab) : '-',
    member.leftNeighbor ? shortId(member.leftNeighbor) : '-',
    member.rightNeighbor ? shortId(member.rightNeighbor) : '-',
  ]))
}

export const ringStatus = defineCommand({
  name: 'ring-status',
  summary: 'rings of a pool: members, positions, neighbours, columns',
  options: ['poolId', 'controlPlane', 'json'],
  examples: ['mesh ring-status', 'mesh ring-status --json'],
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const rings = await client.call('listRings', { params: { poolId: pool.poolId } })
    if (values.json) printJson(context.stdout, rings)
    else if (rings.length === 0) context.stdout.write(`no ring in pool ${pool.name} yet: mesh join-ring --model-id tiny-story\n`)
    else context.stdout.write(rings.map(ringText).join('\n'))
  },
})
