/** Real libp2p nodes on loopback, members of one pool, for tests. */
import { issueCertificate, poolIdOf } from '../../../shared/identity/pool-certificate.ts'
import { deviceIdOf } from '../../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../../../shared/identity/keys.ts'
import { silentLogger } from '../../../shared/log.ts'
import type { RingEpoch } from '../../../shared/schema/ring.ts'
import { Gate } from '../gate.ts'
import { createNode, type MeshNode } from '../node.ts'
import type { PoolDirectory } from '../pool-papers.ts'
import type { Credential } from '../relay-proof.ts'
import type { RingChannel } from '../ring-channel.ts'
import { RingStreams } from '../ring-streams.ts'

export interface TestNode {
  readonly key: KeyPair
  readonly node: MeshNode
  readonly gate: Gate
  readonly streams: RingStreams
}

export interface TestPool {
  readonly poolId: string
  readonly root: KeyPair
  readonly nodes: readonly TestNode[]
  ring(members: readonly number[], epoch?: number): RingEpoch
  /** Channels of all ranks of that ring. */
  connect(ring: RingEpoch, members: readonly number[]): Promise<RingChannel[]>
  stop(): Promise<void>
}

export interface TestPoolOptions {
  readonly relays?: readonly string[]
  readonly listen?: readonly string[]
  readonly stepTimeoutMs?: number
  readonly earlyFrameBytes?: number
  readonly attemptMs?: number
  readonly connectTimeoutMs?: number
  /** Certificate that a node shows, instead of a good one. */
  readonly certificate?: (index: number, key: KeyPair, root: KeyPair) => string | undefined
  /** Of the pool; default: a new one. */
  readonly root?: KeyPair
  /** What a node shows to relays; default: what it shows at the gate. */
  readonly credentials?: () => readonly Credential[]
}

const empty = { start: 0, end: 0 }

export const createTestNode = async (
  key: KeyPair,
  directory: PoolDirectory,
  {
    relays = [],
    listen = ['/ip4/127.0.0.1/tcp/0'],
    stepTimeoutMs = 60_000,
    earlyFrameBytes,
    attemptMs,
    connectTimeoutMs = 60_000,
    credentials,
  }: TestPoolOptions = {},
): Promise<TestNode> => {
  const logger = silentLogger()
  const node = await createNode({ key, listen, announce: [], relays, credentials, logger })
  const gate = new Gate(node, directory, {
    now: Date.now,
    logger,
    isRelay: (peer) => relays.some((relay) => relay.includes(peer)),
  })
  return {
    key,
    node,
    gate,
    streams: new RingStreams({ node, gate, stepTimeoutMs, earlyFrameBytes, attemptMs, connectTimeoutMs, logger }),
  }
}

export const createTestPool = async (count: number, options: TestPoolOptions = {}): Promise<TestPool> => {
  const root = options.root ?? newKeyPair()
  const poolId = poolIdOf(root.publicKey)
  const nodes = await Promise.all(
    Array.from({ length: count }, (_, index) => {
      const key = newKeyPair()
      const good = issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
      const certificate = options.certificate ? options.certificate(index, key, root) : good
      return createTestNode(
        key,
        { rootKeyOf: (id) => (id === poolId ? root.publicKey : undefined), certificateOf: () => certificate },
        {
          credentials: () =>
            certificate === undefined ? [] : [{ poolId, rootPublicKey: toHex(root.publicKey), certificate }],
          ...options,
        },
      )
    }),
  )
  return {
    poolId,
    root,
    nodes,
    ring: (members, epoch = 1) => ({
      ringId: 'ring_test',
      poolId,
      epoch,
      quant: 'q8',
      model: {
        modelId: 'm',
        revision: '0'.repeat(64),
        weightBytes: 0,
        shape: { layers: 1, hidden: 1, heads: 1, kvHeads: 1, headDim: 2, ffn: 1, vocab: 1, context: 1 },
      },
      members: members.map((index, rank) => ({
        deviceId: deviceIdOf(nodes[index].key),
        name: `node ${index}`,
        peerId: nodes[index].node.peerId,
        addresses: nodes[index].node.addresses(),
        rank,
        share: 1,
        ranges: { kvHeads: empty, heads: empty, ffn: empty, vocab: empty },
      })),
    }),
    connect: (ring, members) =>
      Promise.all(
        members.map((index, rank) => nodes[index].streams.open({ ring, rank, signal: new AbortController().signal })),
      ),
    stop: async () => {
      await Promise.all(
        nodes.map(async ({ node, gate }) => {
          gate.stop()
          await node.stop()
        }),
      )
    },
  }
}
