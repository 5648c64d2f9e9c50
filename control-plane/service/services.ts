/**
 * Everything behind the routes, wired once. Each group knows those before it; what has to reach back is told by events:
 * stores -> memberships -> rings -> jobs -> what agents and members ask.
 */
import type { ControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import type { Logger } from '../../shared/log.ts'
import type { OpenDatabase } from '../store/database.ts'
import { NonceStore } from '../store/nonce-store.ts'
import { defaultHealth, type HealthSettings } from '../domain/ring-health.ts'
import { Admission, type AdmissionSettings, defaultAdmission } from './admission.ts'
import { AgentGreetings } from './agent-greetings.ts'
import { AgentSockets } from './agent-sockets.ts'
import { ApiKeys } from './api-keys.ts'
import { Background } from './background.ts'
import { Connections } from './connections.ts'
import { Credits, type CreditSettings, defaultCreditSettings } from './credits.ts'
import { createEvents, type Events } from './events.ts'
import { JobDeadlines } from './job-deadlines.ts'
import { JobDispatch } from './job-dispatch.ts'
import { JobEndings } from './job-endings.ts'
import { JobHub } from './job-hub.ts'
import { JobLeaders } from './job-leaders.ts'
import { Jobs } from './jobs.ts'
import { JoinRequests } from './join-requests.ts'
import { LiveRings } from './live-rings.ts'
import { Locks } from './locks.ts'
import { Memberships } from './memberships.ts'
import { Pins } from './pins.ts'
import { Pools } from './pools.ts'
import { Presence } from './presence.ts'
import { Removals } from './removals.ts'
import { Revocations } from './revocations.ts'
import { RingEpochs } from './ring-epochs.ts'
import { RingFacts } from './ring-facts.ts'
import { RingIntents } from './ring-intents.ts'
import { RingReports } from './ring-reports.ts'
import { RingTrials } from './ring-trials.ts'
import { RunningJobs } from './running-jobs.ts'
import { openStores, type Stores } from './stores.ts'
import { SumChecks } from './sum-checks.ts'
import { SumReports } from './sum-reports.ts'
import { defaultTexts, TextKeeper, type TextSettings } from './text-keeper.ts'
import { Turns } from './turns.ts'
import { Waiting } from './waiting.ts'

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

/** What every service stands on. */
interface Base extends Stores {
  readonly key: ControlPlaneKey
  readonly presence: Presence
  readonly background: Background
  readonly events: Events
  readonly now: () => number
  readonly logger: Logger
}

/** Who belongs to which pool, by certificates, lists and pins. */
const openMemberships = (base: Base) => {
  const revocations = new Revocations(base)
  const pins = new Pins({ ...base, id: base.key.id, revocations })
  const memberships = new Memberships({ ...base, revocations, pins })
  const locks = new Locks(base)
  const keys = new ApiKeys({ ...base, memberships })
  return { revocations, pins, memberships, locks, keys, pools: new Pools({ ...base, memberships, locks }) }
}
type MembershipServices = ReturnType<typeof openMemberships>

/** What becomes of rings. They ask which of them run a job, and nothing else of jobs. */
const openRings = (base: Base & MembershipServices, { ringGraceMs: graceMs, leaseMs, health = {} }: Settings) => {
  const runningJobs = new RunningJobs()
  const ringFacts = new RingFacts({ ...base, graceMs, leaseMs })
  const liveRings = new LiveRings({ ...base, ringFacts, health: { ...defaultHealth, ...health } })
  const ringTrials = new RingTrials({ ...base, ringFacts })
  const ringEpochs = new RingEpochs({ ...base, ringFacts, liveRings, ringTrials, runningJobs })
  return {
    runningJobs,
    liveRings,
    ringEpochs,
    ringIntents: new RingIntents({ ...base, liveRings, ringEpochs, runningJobs }),
    ringReports: new RingReports({ ...base, liveRings, ringEpochs }),
    joinRequests: new JoinRequests({ ...base, ringEpochs }),
  }
}
type RingServices = ReturnType<typeof openRings>

/** What becomes of jobs, and what they cost. */
const openJobs = (base: Base & MembershipServices & RingServices, settings: Settings) => {
  const { reportMs = defaultReportMs, stallMs = defaultStallMs, cancelMs = defaultStallMs, leaseMs } = settings
  const hub = new JobHub()
  const sums = new SumChecks(base)
  const credits = new Credits({ ...base, sums, settings: settings.credits ?? defaultCreditSettings })
  const turns = new Turns({ ...base, credits })
  const waiting = new Waiting({ ...base, turns, hub })
  const jobEndings = new JobEndings({ ...base, turns, credits, hub })
  const jobDeadlines = new JobDeadlines({ ...base, jobEndings, stallMs })
  const below = { ...base, hub, credits, turns, waiting, jobEndings, jobDeadlines }
  const jobDispatch = new JobDispatch({ ...below, leaseMs })
  const jobLeaders = new JobLeaders({ ...below, jobDispatch, graceMs: settings.ringGraceMs, reportMs })
  const jobs = new Jobs({ ...below, jobDispatch, cancelMs })
  return { hub, sums, credits, waiting, jobDispatch, jobLeaders, jobs }
}
type JobServices = ReturnType<typeof openJobs>

export interface Services extends Base, MembershipServices, RingServices, JobServices {
  readonly nonces: NonceStore
  readonly admission: Admission
  readonly connections: Connections
  readonly removals: Removals
  readonly sockets: AgentSockets
  readonly textKeeper: TextKeeper
  stop(): void
}

export const createServices = (
  database: OpenDatabase,
  settings: Settings,
  { now, logger, key }: { now: () => number; logger: Logger; key: ControlPlaneKey },
): Services => {
  const { store, probe } = database
  const background = new Background({ logger, now, probe })
  const nonces = new NonceStore(store, (error) => background.note(error))
  background.onRecovery(() => nonces.flush())
  const stores = openStores(database, key.secretFor('text of jobs'))
  const base: Base = { ...stores, key, background, presence: new Presence(now()), events: createEvents(), now, logger }
  const { poolStore, textStore } = stores
  const { admission: pace = defaultAdmission, heartbeatMs, leaseMs, relays = [] } = settings
  const admission = new Admission(pace, (deviceId) => poolStore.ofDevice(deviceId).length > 0, now)
  const members = { ...base, ...openMemberships(base) }
  const rings = { ...members, ...openRings(members, settings) }
  const all = { ...rings, ...openJobs(rings, settings) }
  const sockets = new AgentSockets({
    ...all,
    admission,
    agentGreetings: new AgentGreetings({ ...all, heartbeatMs, relays }),
    sumReports: new SumReports(all),
    heartbeatMs,
    leaseMs,
  })
  const textKeeper = new TextKeeper({ ...base, textStore, database, settings: settings.texts ?? defaultTexts })
  all.jobDispatch.recover()
  all.ringIntents.sweep()
  all.credits.recover()
  return {
    ...all,
    nonces,
    admission,
    connections: new Connections(now),
    removals: new Removals(all),
    sockets,
    textKeeper,
    stop: () => {
      textKeeper.stop()
      sockets.stop()
      all.ringEpochs.stop()
      all.liveRings.stop()
      all.runningJobs.stop()
      all.waiting.stop()
      all.credits.stop()
      background.stop()
    },
  }
}
