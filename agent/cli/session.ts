/** Device and control plane, for commands that talk to it. */
import { setTimeout as pause } from 'node:timers/promises'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { type Client, createClient } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import { type Home, readStateJson } from '../../shared/home.ts'
import { apiKeyIdIn, malformedKey } from '../../shared/identity/api-key.ts'
import { type ControlPlaneId, parseControlPlaneId } from '../../shared/ids.ts'
import { GivenName } from '../../shared/schema/common.ts'
import { terminalJson } from '../../shared/text.ts'
import { version } from '../../shared/version.ts'
import { AgentState } from '../../shared/schema/agent-state.ts'
import { readChecked } from '../device/checked-state.ts'
import { createDeviceClient, firstContactText } from '../device/control-plane.ts'
import {
  defaultControlPlaneUrl,
  findDevice,
  type LocalDevice,
  loadDevice,
  parseControlPlaneUrl,
} from '../device/device.ts'
import { isSameProcessAlive } from '../../shared/process-alive.ts'
import type { CommandContext } from './command.ts'

export interface Session {
  readonly device: LocalDevice
  readonly client: Client
}

/** The control plane that the running agent found, where the one of `mesh init` is not there. */
const agentControlPlane = (home: Home): string | undefined => {
  try {
    const state = readAgentState(home)?.controlPlane
    return state?.connected ? state.url : undefined
  } catch {
    return undefined // a damaged file of the agent is its own matter: mesh status tells
  }
}

/**
 * Talks to the control plane of the option, else the one that the running agent is connected to, else the one of `mesh
 * init`.
 * @throws MeshError `notInitialised` | `stateUnreadable` | `usage` (not an address)
 */
export const openSession = (context: CommandContext, values: ControlPlaneValues = {}): Session => {
  const device = loadDevice(context.home)
  const url =
    values.controlPlane === undefined ? agentControlPlane(context.home) : parseControlPlaneUrl(values.controlPlane)
  return { device, client: clientOf(context, device, { url, controlPlaneKey: controlPlaneKeyIn(values) }) }
}

/** What the options say of the control plane. */
export interface ControlPlaneValues {
  readonly controlPlane?: string
  readonly controlPlaneKey?: string
}

export const controlPlaneKeyIn = ({ controlPlaneKey }: ControlPlaneValues): ControlPlaneId | undefined =>
  controlPlaneKey === undefined ? undefined : parseControlPlaneId(controlPlaneKey)

/**
 * Talks to a control plane as a device; where it is met for the first time, the person at the terminal is told its key.
 */
export const clientOf = (
  { home, fetch: send, now, stderr }: Pick<CommandContext, 'home' | 'fetch' | 'now' | 'stderr'>,
  device: LocalDevice,
  where: { readonly url?: string; readonly controlPlaneKey?: ControlPlaneId } = {},
): Client =>
  createDeviceClient({
    home,
    device,
    fetch: send,
    now,
    ...where,
    onFirstContact: (key, url) => stderr.write(`${firstContactText(key, url)}\n`),
  })

/**
 * Talks to the control plane as an app does, with an API key: this machine need not be set up as a device.
 * @throws MeshError `keyInvalid` | `usage` (not an address)
 */
export const openKeyClient = (
  context: CommandContext,
  values: { readonly apiKey: string } & ControlPlaneValues,
): Client => {
  const apiKey = values.apiKey.trim()
  if (apiKeyIdIn(apiKey) === undefined) throw new MeshError('keyInvalid', { problem: malformedKey })
  const known = findDevice(context.home)?.config
  const told = values.controlPlane === undefined ? undefined : parseControlPlaneUrl(values.controlPlane)
  const url = told ?? agentControlPlane(context.home) ?? known?.controlPlaneUrl ?? defaultControlPlaneUrl
  // the key that this device knows is that of its own control plane, and the app may mean another one
  const controlPlaneKey =
    controlPlaneKeyIn(values) ??
    (told === undefined || told === known?.controlPlaneUrl ? known?.controlPlaneKey : undefined)
  return createClient({ url, controlPlaneKey, apiKey, fetch: context.fetch, now: context.now })
}

/** The answer, or why nobody answered: for commands that have something to say without the control plane. */
export const ifReachable = async <T>(
  call: Promise<T>,
): Promise<{ readonly answer: T } | { readonly problem: MeshError }> => {
  try {
    return { answer: await call }
  } catch (error) {
    if (error instanceof MeshError && error.code === 'controlPlaneUnreachable') return { problem: error }
    throw error
  }
}

/** @throws MeshError `usage` */
export const checkName = (flag: string, text: string): string => {
  const isName: boolean = Value.Check(GivenName, text)
  if (!isName)
    throw new MeshError('usage', {
      problem:
        `${flag} wants 1 to 100 characters that can be seen, and none that cannot (line ends, ` +
        `control and format characters), got ${terminalJson(JSON.stringify(text.slice(0, 120)))}`,
    })
  return text
}

/** What is left of the state of an agent whose words have changed since. */
const StrangeState = Type.Object({
  pid: Type.Integer({ minimum: 1 }),
  mark: Type.Optional(Type.String()),
  version: Type.String({ maxLength: 40 }),
})

/**
 * A file that cannot be read may be of an agent of another version, which runs on.
 * @throws MeshError `agentVersion` | `stateUnreadable`
 */
const explain = (home: Home, error: unknown): never => {
  const found = readStateJson(home.agentState)
  if (Value.Check(StrangeState, found) && found.version !== version && isSameProcessAlive(found))
    throw new MeshError('agentVersion', { pid: found.pid, got: found.version, want: version }, error)
  throw error
}

const stateIn = (home: Home): AgentState | undefined => {
  try {
    return readChecked(home.agentState, AgentState)
  } catch (error) {
    return explain(home, error)
  }
}

/**
 * What the running agent of this home says of itself; `undefined` when none runs.
 * @throws MeshError `stateUnreadable` | `agentVersion`
 */
export const readAgentState = (home: Home): AgentState | undefined => {
  const state = stateIn(home)
  return state !== undefined && isSameProcessAlive(state) ? state : undefined
}

/**
 * Asks again until there is something, or time is over.
 * @returns `undefined` when time is over; @throws AbortError when the command is interrupted
 */
export const poll = async <T>(
  look: () => Promise<T | undefined>,
  time: { readonly waitMs: number; readonly everyMs: number; readonly context: Pick<CommandContext, 'signal' | 'now'> },
): Promise<T | undefined> => {
  const { signal, now } = time.context
  const deadline = now() + time.waitMs
  for (;;) {
    signal.throwIfAborted()
    const found = await look()
    if (found !== undefined) return found
    const left = deadline - now()
    if (left <= 0) return undefined
    await pause(Math.min(time.everyMs, left), undefined, { signal })
  }
}
