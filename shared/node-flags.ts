/**
 * How the Node of our processes keeps memory: `config.nodeFlags` of package.json, because the launchers read it too,
 * and they are not TypeScript.
 *
 * What a socket reads is garbage as soon as it is copied, but V8 counts it as old memory: with its usual limits, it
 * marked everything again for every 10 to 50 MB that came. That took half of the processor time of large sums, a
 * third of the network's for a written token over libp2p's streams, and 7 % of a prompt's. With 64 MB at first, and a
 * nursery that is collected every 2 MB in place of 16, nearly nothing is marked, and an agent is 50 MB smaller.
 */
import manifest from '../package.json' with { type: 'json' }

/** For the Node that comes with the project: another one may not know them. */
const testedMajor = '24.'

export const nodeFlags: readonly string[] = process.versions.node.startsWith(testedMajor)
  ? manifest.config.nodeFlags
  : []
