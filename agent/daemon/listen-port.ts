/** The agent listens on the port of last time where it may choose: addresses that others remember stay true. */
import { MeshError } from '../../shared/errors.ts'
import type { PeerCache } from '../device/known-peers.ts'
import { isRelayed } from '../../shared/peer-address.ts'
import { createNode, type MeshNode, type NodeOptions } from '../network/node.ts'

const anyPort = /^(\/ip4\/[^/]+\/tcp\/)0$/

/** @throws MeshError as `createNode` does */
export const createNodeAtKnownPort = async (options: NodeOptions, cache: PeerCache): Promise<MeshNode> => {
  const free = options.listen.findIndex((address) => anyPort.test(address))
  const port = cache.listenPort
  if (free < 0) return createNode(options)
  const node =
    port === undefined
      ? await createNode(options)
      : await createOrElse(options, options.listen.with(free, options.listen[free].replace(anyPort, `$1${port}`)))
  cache.listenPort = portOf(node) ?? port
  return node
}

/** Any port when another program has taken ours. */
const createOrElse = async (options: NodeOptions, listen: readonly string[]): Promise<MeshNode> => {
  try {
    return await createNode({ ...options, listen })
  } catch (error) {
    if (error instanceof MeshError && error.code === 'portInUse') return createNode(options)
    throw error
  }
}

const portOf = (node: MeshNode): number | undefined => {
  const port = node
    .addresses()
    .filter((address) => !isRelayed(address))
    .map((address) => /\/tcp\/(\d+)/.exec(address)?.[1])
    .find((text) => text !== undefined)
  return port === undefined ? undefined : Number(port)
}
