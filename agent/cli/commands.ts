/** Every command of `mesh`, in the order of `--help`. */
import type { Command } from './command.ts'
import { apiKeyCreate } from './commands/api-key-create.ts'
import { apiKeyList } from './commands/api-key-list.ts'
import { apiKeyRevoke } from './commands/api-key-revoke.ts'
import { bench } from './commands/bench.ts'
import { controlPlane } from './commands/control-plane.ts'
import { credits } from './commands/credits.ts'
import { demo } from './commands/demo.ts'
import { down } from './commands/down.ts'
import { inference } from './commands/inference.ts'
import { init } from './commands/init.ts'
import { join } from './commands/join.ts'
import { joinRing } from './commands/join-ring.ts'
import { leaveRing } from './commands/leave-ring.ts'
import { ledger } from './commands/ledger.ts'
import { ledgerVerify } from './commands/ledger-verify.ts'
import { logs } from './commands/logs.ts'
import { poolApprove } from './commands/pool-approve.ts'
import { lockResources } from './commands/lock-resources.ts'
import { poolCreate } from './commands/pool-create.ts'
import { poolDeny } from './commands/pool-deny.ts'
import { poolExportKey } from './commands/pool-export-key.ts'
import { poolImportKey } from './commands/pool-import-key.ts'
import { poolInvite } from './commands/pool-invite.ts'
import { poolJoin } from './commands/pool-join.ts'
import { poolList } from './commands/pool-list.ts'
import { poolPeers } from './commands/pool-peers.ts'
import { poolRemove } from './commands/pool-remove.ts'
import { poolRequests } from './commands/pool-requests.ts'
import { poolStatus } from './commands/pool-status.ts'
import { quota } from './commands/quota.ts'
import { relay } from './commands/relay.ts'
import { resourceStatus } from './commands/resource-status.ts'
import { ringRemove } from './commands/ring-remove.ts'
import { ringStatus } from './commands/ring-status.ts'
import { serviceInstall } from './commands/service-install.ts'
import { serviceRemove } from './commands/service-remove.ts'
import { shardStatus } from './commands/shard-status.ts'
import { shardsCommand } from './commands/shards.ts'
import { start } from './commands/start.ts'
import { status } from './commands/status.ts'
import { unlockResources } from './commands/unlock-resources.ts'
import { up } from './commands/up.ts'

export const commands: readonly Command[] = [
  demo, up, join,
  init, poolCreate, poolInvite, poolJoin, poolRequests, poolApprove, poolDeny, poolRemove, poolList, poolPeers, poolStatus, poolExportKey, poolImportKey,
  joinRing, leaveRing, ringRemove, ringStatus, shardStatus, shardsCommand,
  lockResources, resourceStatus, unlockResources,
  start, down, logs, serviceInstall, serviceRemove, status, inference,
  apiKeyCreate, apiKeyList, apiKeyRevoke,
  credits, quota, ledger, ledgerVerify,
  controlPlane, relay, bench,
]
