/** The machine of one epoch on this device: every state, every event. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { Carrier, Loading, RingNetwork } from '../../shared/schema/ring.ts'
import {
  initialState,
  next,
  progressOf,
  reportedState,
  type SessionEvent,
  type SessionState,
  type Transition,
} from './session-state.ts'

const cutting: Loading = { phase: 'cutting', bytes: 40, totalBytes: 100 }
const linking: Loading = { phase: 'linking', bytes: 100, totalBytes: 100, missing: [1] }
const networkOver = (carrier: Carrier): RingNetwork => ({
  links: [],
  slowest: { roundTripMs: 1, bytesPerSecond: 1e6 },
  collective: 'auto',
  carrier,
  decode: { bytes: 1, algorithm: 'direct' },
  prefill: { bytes: 1, algorithm: 'ring' },
})
const [sockets, streams] = [networkOver('sockets'), networkOver('streams')]
const [first, second] = [new MeshError('peerLost'), new MeshError('backendFailed')]

const states = {
  waiting: { name: 'waiting' },
  loading: { name: 'loading', loading: cutting },
  linking: { name: 'linking', loading: linking },
  starting: { name: 'starting', loading: linking },
  ready: { name: 'ready', jobs: 1, network: sockets },
  'ready over streams': { name: 'ready', jobs: 0, network: streams },
  'ready alone': { name: 'ready', jobs: 0, network: undefined },
  failed: { name: 'failed', error: first, progress: 0.3 },
  closed: { name: 'closed' },
} as const satisfies Record<string, SessionState>

const events = {
  opened: { type: 'opened' },
  progressed: { type: 'progressed', loading: { ...linking, missing: [] } },
  loaded: { type: 'loaded', bytes: 100, missing: [1] },
  linked: { type: 'linked' },
  started: { type: 'started', network: sockets },
  failed: { type: 'failed', error: second },
  busied: { type: 'busied', jobs: 2 },
  agreed: { type: 'agreed', network: streams },
  'job-failed': { type: 'job-failed', error: second },
  checked: { type: 'checked' },
  closed: { type: 'closed' },
} as const satisfies { [Type in SessionEvent['type']]: Extract<SessionEvent, { type: Type }> }

/** Name of the state that follows, then what is done, in that order; empty: nothing happens. */
const table: Record<keyof typeof states, Record<SessionEvent['type'], string>> = {
  waiting: {
    opened: 'loading: load',
    progressed: '',
    loaded: '',
    linked: '',
    started: '',
    failed: 'failed: break release tell',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: 'waiting: tell',
    closed: 'closed: release',
  },
  loading: {
    opened: '',
    progressed: 'loading: tell',
    loaded: 'linking: tell link',
    linked: '',
    started: '',
    failed: 'failed: break release tell',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: 'loading: tell',
    closed: 'closed: release',
  },
  linking: {
    opened: '',
    progressed: 'linking: tell',
    loaded: '',
    linked: 'starting: start',
    started: '',
    failed: 'failed: break release tell',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: 'linking: tell',
    closed: 'closed: release',
  },
  starting: {
    opened: '',
    progressed: 'starting: tell',
    loaded: '',
    linked: '',
    started: 'ready: tell',
    failed: 'failed: break release tell',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: 'starting: tell',
    closed: 'closed: release',
  },
  ready: {
    opened: '',
    progressed: '',
    loaded: '',
    linked: '',
    started: '',
    failed: 'failed: break tell',
    busied: 'ready: tell',
    agreed: 'ready: tell',
    'job-failed': 'ready: leave-sockets',
    checked: 'ready: tell',
    closed: 'closed: release',
  },
  'ready over streams': {
    opened: '',
    progressed: '',
    loaded: '',
    linked: '',
    started: '',
    failed: 'failed: break tell',
    busied: 'ready: tell',
    agreed: '',
    'job-failed': '',
    checked: 'ready: tell',
    closed: 'closed: release',
  },
  'ready alone': {
    opened: '',
    progressed: '',
    loaded: '',
    linked: '',
    started: '',
    failed: 'failed: break tell',
    busied: 'ready: tell',
    agreed: 'ready: tell',
    'job-failed': '',
    checked: 'ready: tell',
    closed: 'closed: release',
  },
  failed: {
    opened: '',
    progressed: '',
    loaded: '',
    linked: 'failed: release',
    started: 'failed: release',
    failed: 'failed: release',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: 'failed: tell',
    closed: 'closed: release',
  },
  closed: {
    opened: '',
    progressed: '',
    loaded: '',
    linked: 'closed: release',
    started: 'closed: release',
    failed: 'closed: release',
    busied: '',
    agreed: '',
    'job-failed': '',
    checked: '',
    closed: '',
  },
}

const shown = (before: SessionState, { state, effects }: Transition): string =>
  effects.length === 0 && state.name === before.name
    ? ''
    : `${state.name}: ${effects.map((effect) => effect.do).join(' ')}`

describe('session state', () => {
  for (const [name, state] of Object.entries(states))
    for (const [type, event] of Object.entries(events))
      it(`${name}, ${type}: ${table[name as keyof typeof states][event.type] || 'nothing'}`, () => {
        const transition = next(state, event)
        assert.equal(shown(state, transition), table[name as keyof typeof states][event.type])
      })

  it('an event without effect leaves the state as it is', () => {
    for (const [name, state] of Object.entries(states))
      for (const event of Object.values(events))
        if (table[name as keyof typeof states][event.type] === '' && event.type !== 'agreed')
          assert.equal(next(state, event).state, state, `${name} ${event.type}`)
  })

  it('each state carries what its event said', () => {
    assert.deepEqual(next(initialState, events.opened).state, { name: 'loading', loading: undefined })
    assert.deepEqual(next(states.loading, events.progressed).state, {
      name: 'loading',
      loading: events.progressed.loading,
    })
    assert.deepEqual(next(states.loading, events.loaded).state, { name: 'linking', loading: linking })
    assert.deepEqual(next(states.linking, events.linked).state, { name: 'starting', loading: linking })
    assert.deepEqual(next(states.starting, events.started).state, { name: 'ready', jobs: 0, network: sockets })
    assert.deepEqual(next(states.ready, events.busied).state, { name: 'ready', jobs: 2, network: sockets })
    assert.deepEqual(next(states.ready, events.agreed).state, { name: 'ready', jobs: 1, network: streams })
  })

  it('how the next job sums is kept also where it is told to nobody', () => {
    const slower = { ...streams, slowest: { roundTripMs: 9, bytesPerSecond: 1 } }
    const { state, effects } = next(states['ready over streams'], { type: 'agreed', network: slower })
    assert.deepEqual(effects, [])
    assert.deepEqual(state, { ...states['ready over streams'], network: slower })
  })

  it('the first failure is the one that is told, with how far the epoch had come', () => {
    const { state, effects } = next(states.loading, events.failed)
    assert.deepEqual(state, { name: 'failed', error: second, progress: progressOf(states.loading) })
    assert.deepEqual(effects[0], { do: 'break', error: second })
    assert.equal(next(states.failed, events.failed).state, states.failed)
    assert.deepEqual(next(states.ready, events['job-failed']).effects, [{ do: 'leave-sockets', error: second }])
  })

  it('progress: nothing, by phase, all of it, and where it stopped', () => {
    const of = (state: SessionState): [string, number] => [reportedState(state), progressOf(state)]
    assert.deepEqual(Object.values(states).map(of), [
      ['loading', 0],
      ['loading', 0.4],
      ['loading', 1],
      ['loading', 1],
      ['ready', 1],
      ['ready', 1],
      ['ready', 1],
      ['failed', 0.3],
      ['closed', 0],
    ])
    assert.equal(progressOf({ name: 'loading', loading: undefined }), 0)
  })
})
