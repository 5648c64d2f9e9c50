/** Devices that serve rings together, in this process: real nodes, real shards and compute processes, no control plane. */
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { AgentMessage } from '../../../shared/api/messages.ts'
import { deviceIdOf } from '../../../shared/identity/device-key.ts'
import { openHome } from '../../../shared/home.ts'
import { silentLogger } from '../../../shared/log.ts'
import { planShards } from '../../../shared/plan/shard-plan.ts'
import type { Loading, RingEpoch, RingMember } from '../../../shared/schema/ring.ts'
import { afterwards, temporaryFolder } from '../../../test/support/homes.ts'
import { eventually } from '../../../test/support/processes.ts'
import { openModel } from '../../model/model-folder.ts'
import { createTestPool } from '../../network/test/pool-of-nodes.ts'
import { RingRegistry, type RingRegistryOptions } from '../ring-registry.ts'
import { type LoadedShard, ShardLoader } from '../shard-loader.ts'
import { ThreadGovernor } from '../thread-governor.ts'

type RingState = Extract<AgentMessage, { type: 'ring-state' }>

const bundledModels = fileURLToPath(new URL('../../../models', import.meta.url))

/** Counts what it is asked for. */
class CountingLoader extends ShardLoader {
  loads = 0

  override load(ring: RingEpoch, member: RingMember, progress: (loading: Loading) => void): Promise<LoadedShard> {
    this.loads++
    return super.load(ring, member, progress)
  }
}

export interface RingDevice {
  readonly deviceId: string
  readonly registry: RingRegistry
  readonly loader: CountingLoader
  readonly sent: AgentMessage[]
  /** Jobs of which it did its part. */
  readonly worked: string[]
  /** As when the disk that its shards lie on has more room. */
  moreRoom(): void
  /** What it reported last of an epoch, once that is so. */
  until(epoch: number, state: RingState['state']): Promise<RingState>
}

export interface RingDevices {
  readonly devices: readonly RingDevice[]
  /** Of the bundled model, over these devices. */
  ring(epoch: number, members?: readonly number[]): RingEpoch
}

const patienceMs = 60_000

export const createRingDevices = async (
  t: TestContext,
  count: number,
  change: Partial<RingRegistryOptions> = {},
): Promise<RingDevices> => {
  const pool = await createTestPool(count)
  afterwards(t, () => pool.stop())
  const devices = pool.nodes.map(({ key, streams }): RingDevice => {
    const home = openHome(temporaryFolder(t))
    const logger = silentLogger()
    const [sent, worked]: [AgentMessage[], string[]] = [[], []]
    const loader = new CountingLoader({
      home,
      bundledModels,
      backend: 'auto',
      governor: new ThreadGovernor({ threads: 1, logger }),
      spinMs: 0,
      logger,
      admit: () => {},
    })
    afterwards(t, () => loader.close())
    let moreRoom = (): void => {}
    const registry = new RingRegistry({
      deviceId: deviceIdOf(key),
      loader,
      streams,
      checksFolder: home.checks,
      settings: { algorithm: 'auto', wire: 'auto' },
      carrier: 'auto',
      sealingKeyOf: () => undefined,
      logger,
      now: Date.now,
      send: (message) => sent.push(message),
      onWork: (_, { jobId }) => worked.push(jobId),
      onChange: () => {},
      onMoreRoom: (then) => {
        moreRoom = then
        return () => {
          moreRoom = () => {}
        }
      },
      ...change,
    })
    afterwards(t, () => registry.stop())
    const last = (epoch: number): RingState | undefined =>
      sent.findLast((message): message is RingState => message.type === 'ring-state' && message.epoch === epoch)
    return {
      deviceId: deviceIdOf(key),
      registry,
      loader,
      sent,
      worked,
      moreRoom: () => moreRoom(),
      until: (epoch, state) =>
        eventually(patienceMs, `epoch ${epoch} is ${state}`, () => {
          const report = last(epoch)
          return report?.state === state ? report : undefined
        }),
    }
  })
  const model = openModel(`${bundledModels}/tiny-story`, 'tiny-story')
  const manifest = { ...model.about, revision: (await model.identify()).revision }
  model.close()
  return {
    devices,
    ring: (epoch, members = devices.map((_, index) => index)) => {
      const ring = pool.ring(members, epoch)
      const plan = planShards(
        manifest.shape,
        members.map(() => 1),
      )
      return {
        ...ring,
        model: manifest,
        members: ring.members.map((member, rank) => ({ ...member, ranges: plan[rank] })),
      }
    },
  }
}
