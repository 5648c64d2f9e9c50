/** Everything behind the routes, wired once. */
import type { ControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'
import { type PoolCharter, readCharter } from '../../shared/identity/pool-charter.ts'
import type { Logger } from '../../shared/log.ts'
import type { OpenDatabase } from '../store/database.ts'
import { CreditStore } from '../store/credit-store.ts'
import { DeviceStore } from '../store/device-store.ts'
import { FindingStore } from '../store/finding-store.ts'
import { JobTexts } from '../store/job-texts.ts'
import { JobStore } from '../store/job-store.ts'
import { KeyStore } from '../store/key-store.ts'
import { LockStore } from '../store/lock-store.ts'
import { NonceStore } from '../store/nonce-store.ts'
import { PinStore } from '../store/pin-store.ts'
import { PoolStore, type StoredPool } from '../store/pool-store.ts'
import { RevocationStore } from '../store/revocation-store.ts'
import { TextStore } from '../store/text-store.ts'
import { TextVault } from '../store/text-vault.ts'
import { RingStore } from '../store/ring-store.ts'
import { defaultHealth, type HealthSettings } from '../domain/ring-health.ts'
import { Admission, type AdmissionSettings, defaultAdmission } from './admission.ts'
import { AgentSockets } from './agent-sockets.ts'
import { ApiKeys } from './api-keys.ts'
import { Background } from './background.ts'
import { Connections } from './connections.ts'
import { Credits, type CreditSettings, defaultCreditSettings } from './credits.ts'
import { JobHub } from './job-hub.ts'
import { Jobs } from './jobs.ts'
import { Locks } from './locks.ts'
import { Memberships } from './memberships.ts'
import { Pins } from './pins.ts'
import { Presence } from './presence.ts'
import { Removals } from './removals.ts'
import { Rings } from './rings.ts'
import { SumChecks, type SumChecksOptions } from './sum-checks.ts'
import { defaultTexts, TextKeeper, type TextSettings } from './text-keeper.ts'

export interface Settings {
  readonly heartbeatMs: number
  readonly leaseMs: number
  readonly ringGraceMs: number
  /** Relays that are named to every device. */
  readonly relays?: readonly string[]
  /** How long rank 0 may take to report a job that lost another rank. */
  readonly reportMs?: number
  /** How long a job may stand still. */
  readonly stallMs?: number
  /** How long a job may go on that was cancelled. */
  readonly cancelMs?: number
  readonly credits?: CreditSettings
  readonly admission?: AdmissionSettings
  readonly texts?: TextSettings
  /** When members of rings are left out, and tried again. */
  readonly health?: Partial<HealthSettings>
}

/** The time limit of a step (8 s) and some. */
const defaultReportMs = 10_000
/** A step of 256 tokens takes minutes where a large model runs on slow machines. */
const defaultStallMs = 300_000

export interface Services {
  /** Of this control plane. */
  readonly key: ControlPlaneKey
  readonly admission: Admission
  readonly connections: Connections
  readonly devices: DeviceStore
  readonly pools: PoolStore
  readonly jobStore: JobStore
  readonly ringStore: RingStore
  readonly nonces: NonceStore
  readonly memberships: Memberships
  readonly pins: Pins
  readonly removals: Removals
  readonly presence: Presence
  readonly rings: Rings
  readonly sums: SumChecks
  readonly locks: Locks
  readonly jobs: Jobs
  readonly keys: ApiKeys
  readonly credits: Credits
  readonly hub: JobHub
  readonly sockets: AgentSockets
  readonly background: Background
  readonly textKeeper: TextKeeper
  readonly now: () => number
  stop(): void
}

/** The sums of a member are wrong: the ring goes on without it, what runs fails, and it earns nothing of what it worked on. */
const spoiling =
  (parts: () => Pick<Services, 'rings' | 'jobs' | 'credits'>): SumChecksOptions['onWrong'] =>
  ({ ringId }, { deviceId, jobs: spoiled, error }) => {
    const { rings, jobs, credits } = parts()
    for (const jobId of spoiled) credits.spoil(jobId, deviceId)
    jobs.failRunning(ringId, error)
    rings.leaveOut(ringId, deviceId, error)
  }

export const createServices = (
  database: OpenDatabase,
  {
    heartbeatMs,
    leaseMs,
    ringGraceMs: graceMs,
    relays = [],
    reportMs = defaultReportMs,
    stallMs = defaultStallMs,
    cancelMs = defaultStallMs,
    credits: creditSettings = defaultCreditSettings,
    admission: admissionSettings = defaultAdmission,
    texts: textSettings = defaultTexts,
    health = {},
  }: Settings,
  { now, logger, key }: { now: () => number; logger: Logger; key: ControlPlaneKey },
): Services => {
  const { store, probe } = database
  const background = new Background({ logger, now, probe })
  const nonces = new NonceStore(store, (error) => background.note(error))
  background.onRecovery(() => nonces.flush())
  const devices = new DeviceStore(store)
  const pools = new PoolStore(store)
  const admission = new Admission(admissionSettings, (deviceId) => pools.ofDevice(deviceId).length > 0, now)
  const texts = new JobTexts(new TextVault(key.secretFor('text of jobs')))
  const jobStore = new JobStore(store, texts)
  const ringStore = new RingStore(store)
  const presence = new Presence(now())
  const memberships = new Memberships({
    pools,
    revocations: new RevocationStore(store),
    presence,
    background,
    now,
    checkServed: (pool) => pins.checkServed(pool),
  })
  const pins: Pins = new Pins({
    id: key.id,
    pins: new PinStore(store),
    presence,
    now,
    logger,
    removalsOf: (pool) => removalsOf(memberships.revocations(pool)),
    onMoved: (poolId) => rings.refreshPool(poolId),
  })
  const hub = new JobHub()
  const credits = new Credits({
    store: new CreditStore(store),
    jobs: jobStore,
    rings: ringStore,
    devices,
    background,
    now,
    settings: creditSettings,
    logger,
    isWrong: (ringId, epoch, deviceId) => sums.isWrong(ringId, epoch, deviceId),
  })
  const locks = new Locks({
    store: new LockStore(store),
    devices,
    rings: ringStore,
    presence,
    now,
    onChange: (deviceId) => rings.refresh(deviceId),
  })
  const rings: Rings = new Rings({
    rings: ringStore,
    devices,
    presence,
    background,
    now,
    graceMs,
    leaseMs,
    logger,
    health: { ...defaultHealth, ...health },
    roomFor: (deviceId, ringId) => locks.roomFor(deviceId, ringId),
    certificateOf: (poolId, deviceId) => pools.membership(poolId, deviceId)?.certificate,
    isBusy: (ringId) => jobs.isBusy(ringId),
    onActive: (ringId) => jobs.dispatch(ringId),
    onFailed: (ringId, deviceId, error) => jobs.memberFailed(ringId, deviceId, error),
    onEvaluated: (ringId) => jobs.waiting.changed(ringId),
    onDissolved: (ring) => {
      sums.forget(ring.ringId)
      jobs.failWaiting(ring)
    },
  })
  const sums = new SumChecks({
    rings: ringStore,
    devices,
    findings: new FindingStore(store),
    background,
    now,
    logger,
    onWrong: spoiling(() => ({ rings, jobs, credits })),
  })
  const keys = new ApiKeys({
    store: new KeyStore(store),
    jobs: jobStore,
    pools,
    devices,
    memberships,
    background,
    now,
    logger,
    onRevoked: ({ keyId }) => jobs.cancelOfKey(keyId),
  })
  const jobs: Jobs = new Jobs({
    jobs: jobStore,
    ringStore,
    rings,
    presence,
    hub,
    credits,
    keys,
    termsOf: (poolId) => termsOf(pools.find(poolId)),
    background,
    now,
    graceMs,
    leaseMs,
    reportMs,
    stallMs,
    cancelMs,
    logger,
  })
  const removals = new Removals({ memberships, pools, presence, rings, jobs, keys, background, now, logger })
  const sockets = new AgentSockets({
    admission,
    presence,
    memberships,
    devices,
    pools,
    rings,
    sums,
    locks,
    jobs,
    credits,
    pins,
    background,
    now,
    heartbeatMs,
    leaseMs,
    relays,
    logger,
  })
  const textKeeper = new TextKeeper({
    store: new TextStore(store, texts),
    database,
    background,
    now,
    settings: textSettings,
    logger,
  })
  jobs.recover()
  rings.sweep()
  credits.recover()
  return {
    key,
    admission,
    connections: new Connections(now),
    devices,
    pools,
    jobStore,
    ringStore,
    nonces,
    memberships,
    pins,
    removals,
    presence,
    rings,
    sums,
    locks,
    jobs,
    keys,
    credits,
    hub,
    sockets,
    background,
    textKeeper,
    now,
    stop: () => {
      textKeeper.stop()
      sockets.stop()
      rings.stop()
      jobs.stop()
      credits.stop()
      background.stop()
    },
  }
}

/** What a pool was made to be. A charter that does not hold (the file was changed) lets nobody in. */
const termsOf = (pool: StoredPool | undefined): PoolCharter => {
  try {
    return readCharter(pool?.charter, Buffer.from(pool?.rootPublicKey ?? '', 'hex'))
  } catch {
    return { adminsReadText: false }
  }
}
