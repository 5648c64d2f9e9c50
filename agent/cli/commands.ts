/**
 * Every command of `mesh` by its name, in the order of `--help`. A command line loads the command that it names and
 * no other: what all of them import takes longer to load than most of them take to run.
 */
import type { Command } from './command.ts'

const table: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import('./commands/demo.ts')).demo,
  up: async () => (await import('./commands/up.ts')).up,
  join: async () => (await import('./commands/join.ts')).join,
  init: async () => (await import('./commands/init.ts')).init,
  'pool-create': async () => (await import('./commands/pool-create.ts')).poolCreate,
  'pool-invite': async () => (await import('./commands/pool-invite.ts')).poolInvite,
  'pool-join': async () => (await import('./commands/pool-join.ts')).poolJoin,
  'pool-requests': async () => (await import('./commands/pool-requests.ts')).poolRequests,
  'pool-approve': async () => (await import('./commands/pool-approve.ts')).poolApprove,
  'pool-deny': async () => (await import('./commands/pool-deny.ts')).poolDeny,
  'pool-remove': async () => (await import('./commands/pool-remove.ts')).poolRemove,
  'pool-move': async () => (await import('./commands/pool-move.ts')).poolMove,
  'pool-list': async () => (await import('./commands/pool-list.ts')).poolList,
  'pool-peers': async () => (await import('./commands/pool-peers.ts')).poolPeers,
  'pool-status': async () => (await import('./commands/pool-status.ts')).poolStatus,
  'pool-export-key': async () => (await import('./commands/pool-export-key.ts')).poolExportKey,
  'pool-import-key': async () => (await import('./commands/pool-import-key.ts')).poolImportKey,
  'model-add': async () => (await import('./commands/model-add.ts')).modelAdd,
  'model-pull': async () => (await import('./commands/model-pull.ts')).modelPull,
  'model-list': async () => (await import('./commands/model-list.ts')).modelList,
  'model-show': async () => (await import('./commands/model-show.ts')).modelShow,
  'model-plan': async () => (await import('./commands/model-plan.ts')).modelPlan,
  'model-remove': async () => (await import('./commands/model-remove.ts')).modelRemove,
  'join-ring': async () => (await import('./commands/join-ring.ts')).joinRing,
  'leave-ring': async () => (await import('./commands/leave-ring.ts')).leaveRing,
  'ring-remove': async () => (await import('./commands/ring-remove.ts')).ringRemove,
  'ring-status': async () => (await import('./commands/ring-status.ts')).ringStatus,
  'shard-status': async () => (await import('./commands/shard-status.ts')).shardStatus,
  shards: async () => (await import('./commands/shards.ts')).shardsCommand,
  'lock-resources': async () => (await import('./commands/lock-resources.ts')).lockResources,
  'resource-status': async () => (await import('./commands/resource-status.ts')).resourceStatus,
  'unlock-resources': async () => (await import('./commands/unlock-resources.ts')).unlockResources,
  start: async () => (await import('./commands/start.ts')).start,
  down: async () => (await import('./commands/down.ts')).down,
  logs: async () => (await import('./commands/logs.ts')).logs,
  'service-install': async () => (await import('./commands/service-install.ts')).serviceInstall,
  'service-remove': async () => (await import('./commands/service-remove.ts')).serviceRemove,
  status: async () => (await import('./commands/status.ts')).status,
  inference: async () => (await import('./commands/inference.ts')).inference,
  'api-key-create': async () => (await import('./commands/api-key-create.ts')).apiKeyCreate,
  'api-key-list': async () => (await import('./commands/api-key-list.ts')).apiKeyList,
  'api-key-revoke': async () => (await import('./commands/api-key-revoke.ts')).apiKeyRevoke,
  credits: async () => (await import('./commands/credits.ts')).credits,
  quota: async () => (await import('./commands/quota.ts')).quota,
  ledger: async () => (await import('./commands/ledger.ts')).ledger,
  'ledger-verify': async () => (await import('./commands/ledger-verify.ts')).ledgerVerify,
  'control-plane': async () => (await import('./commands/control-plane.ts')).controlPlane,
  'control-plane-key': async () => (await import('./commands/control-plane-key.ts')).controlPlaneKey,
  'control-plane-export-key': async () =>
    (await import('./commands/control-plane-export-key.ts')).controlPlaneExportKey,
  'control-plane-import-key': async () =>
    (await import('./commands/control-plane-import-key.ts')).controlPlaneImportKey,
  relay: async () => (await import('./commands/relay.ts')).relay,
  bench: async () => (await import('./commands/bench.ts')).bench,
}

/** All of them: what help, suggestions and documentation need. */
export const allCommands = (): Promise<Command[]> => Promise.all(Object.values(table).map((load) => load()))

/** `ledger verify` is `ledger-verify`: a name of two words may be typed as such. */
export const joinWords = ([first, second, ...rest]: readonly string[]): readonly string[] | undefined =>
  Object.hasOwn(table, `${first}-${second}`) ? [`${first}-${second}`, ...rest] : undefined

/** What has to be loaded to parse a command line: the command that it names, nothing for the version, else all. */
export const commandsFor = async (typed: readonly string[]): Promise<Command[]> => {
  const [first = ''] = joinWords(typed) ?? typed
  if (Object.hasOwn(table, first)) return [await table[first]()]
  return first === '--version' || first === '-V' ? [] : allCommands()
}
