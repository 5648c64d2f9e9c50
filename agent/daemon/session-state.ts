/**
 * One epoch of a ring as this device lives it, as a machine without IO: (state, event) -> (state, effects). The shard
 * is loaded, the peers are linked, the rank starts, and it runs until the epoch fails or ends. `ring-session.ts`
 * carries the effects out, and tells their ends as events.
 */
import type { MeshError } from '../../shared/errors.ts'
import type { Loading, RingNetwork } from '../../shared/schema/ring.ts'
import { fractionOf } from './load-progress.ts'

export type SessionState =
  /** What was here before it is still being closed. */
  | { readonly name: 'waiting' }
  | { readonly name: 'loading' | 'linking' | 'starting'; readonly loading: Loading | undefined }
  | {
      readonly name: 'ready'
      /** Jobs that another rank leads and that run here. */
      readonly jobs: number
      /** On rank 0 of several. */
      readonly network: RingNetwork | undefined
    }
  | { readonly name: 'failed'; readonly error: MeshError; readonly progress: number }
  | { readonly name: 'closed' }

export type SessionEvent =
  /** It may begin. */
  | { readonly type: 'opened' }
  | { readonly type: 'progressed'; readonly loading: Loading }
  /** The shard is there; `missing` are the ranks to be linked. */
  | { readonly type: 'loaded'; readonly bytes: number; readonly missing: readonly number[] }
  /** Streams to all peers are up. */
  | { readonly type: 'linked' }
  | { readonly type: 'started'; readonly network: RingNetwork | undefined }
  /** A step of opening failed, or what runs broke. */
  | { readonly type: 'failed'; readonly error: MeshError }
  /** A job that another rank leads began here, or ended. */
  | { readonly type: 'busied'; readonly jobs: number }
  /** Rank 0 said how the next job sums. */
  | { readonly type: 'agreed'; readonly network: RingNetwork | undefined }
  /** Rank 0: a job failed. */
  | { readonly type: 'job-failed'; readonly error: MeshError }
  /** The spot checks have something to say. */
  | { readonly type: 'checked' }
  /** Another epoch comes, or the ring was left. */
  | { readonly type: 'closed' }

export type SessionEffect =
  /** The three steps of opening; each ends with an event. */
  | { readonly do: 'load' | 'link' | 'start' }
  /** Whoever watches this session looks at it. */
  | { readonly do: 'tell' }
  /** The step that runs ends with the error, which the log tells. */
  | { readonly do: 'break'; readonly error: MeshError }
  /** Sums go over the streams of libp2p from now on, because of the error. */
  | { readonly do: 'leave-sockets'; readonly error: MeshError }
  /** Gives back links, sockets and checks, and gives up what is being opened. The shard is the loader's. */
  | { readonly do: 'release' }

export interface Transition {
  readonly state: SessionState
  readonly effects: readonly SessionEffect[]
}

type Handlers = {
  readonly [Type in SessionEvent['type']]: (
    state: SessionState,
    event: Extract<SessionEvent, { type: Type }>,
  ) => Transition
}

const tell: SessionEffect = { do: 'tell' }
const release: SessionEffect = { do: 'release' }

const stay = (state: SessionState, ...effects: SessionEffect[]): Transition => ({ state, effects })
const isOver = ({ name }: SessionState): boolean => name === 'failed' || name === 'closed'

/** What a step brings once nobody waits for it any more is given back. */
const late = (state: SessionState): Transition => (isOver(state) ? stay(state, release) : stay(state))

const carrierOf = (network: RingNetwork | undefined): RingNetwork['carrier'] | undefined => network?.carrier

const handlers: Handlers = {
  opened: (state) =>
    state.name === 'waiting'
      ? { state: { name: 'loading', loading: undefined }, effects: [{ do: 'load' }] }
      : stay(state),
  progressed: (state, { loading }) =>
    'loading' in state ? { state: { ...state, loading }, effects: [tell] } : stay(state),
  // a shard that comes late stays where it is: it is the loader's
  loaded: (state, { bytes, missing }) =>
    state.name === 'loading'
      ? {
          state: {
            name: 'linking',
            loading: { phase: 'linking', bytes, totalBytes: bytes, missing: [...missing] },
          },
          effects: [tell, { do: 'link' }],
        }
      : stay(state),
  linked: (state) =>
    state.name === 'linking' ? { state: { ...state, name: 'starting' }, effects: [{ do: 'start' }] } : late(state),
  started: (state, { network }) =>
    state.name === 'starting' ? { state: { name: 'ready', jobs: 0, network }, effects: [tell] } : late(state),
  failed: (state, { error }) => {
    if (isOver(state)) return late(state)
    const failed: SessionState = { name: 'failed', error, progress: progressOf(state) }
    // what other ranks hold of a ready epoch ends with the session: the control plane closes it on all of them
    return { state: failed, effects: [{ do: 'break', error }, ...(state.name === 'ready' ? [] : [release]), tell] }
  },
  busied: (state, { jobs }) => (state.name === 'ready' ? { state: { ...state, jobs }, effects: [tell] } : stay(state)),
  agreed: (state, { network }) =>
    state.name === 'ready'
      ? {
          state: { ...state, network },
          effects: carrierOf(network) === carrierOf(state.network) ? [] : [tell],
        }
      : stay(state),
  // the sockets may be gone, on any rank; the streams tell when they are
  'job-failed': (state, { error }) =>
    state.name === 'ready' && carrierOf(state.network) === 'sockets'
      ? stay(state, { do: 'leave-sockets', error })
      : stay(state),
  checked: (state) => (state.name === 'closed' ? stay(state) : stay(state, tell)),
  closed: (state) => (state.name === 'closed' ? stay(state) : { state: { name: 'closed' }, effects: [release] }),
}

/** What an event makes of a state, and what is to be done then, in that order. */
export const next = (state: SessionState, event: SessionEvent): Transition => {
  const handle = handlers[event.type] as (state: SessionState, event: SessionEvent) => Transition
  return handle(state, event)
}

export const initialState: SessionState = { name: 'waiting' }

/** How far an epoch has come, 0 to 1. */
export const progressOf = (state: SessionState): number => {
  if (state.name === 'ready') return 1
  if (state.name === 'failed') return state.progress
  return 'loading' in state && state.loading ? fractionOf(state.loading) : 0
}

/** As the agent reports it: the steps of opening are one. */
export type ReportedState = 'loading' | 'ready' | 'failed' | 'closed'

export const reportedState = ({ name }: SessionState): ReportedState =>
  name === 'ready' || name === 'failed' || name === 'closed' ? name : 'loading'
