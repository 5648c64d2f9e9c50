/** Who is at the address of a control plane, and how to speak to it and to nobody else. */
import type { createConnection } from 'node:net'
import { MeshError, problemOf } from '../errors.ts'
import { type ControlPlaneId, parseControlPlaneId } from '../ids.ts'
import { isTlsUrl } from '../control-plane-url.ts'
import { errorOf, unreachable } from './failures.ts'
import { otherVersion } from '../wire/other-version.ts'
import { requests } from '../wire/protocols.ts'
import { connectPinned, pinnedFetch, provenKey } from './pinned-tls.ts'
import { routes } from './routes.ts'

/**
 * The key of the control plane at an address: over TLS it is proven; on this machine nobody else listens, so it is
 * asked.
 * @throws MeshError `controlPlaneUnreachable` | `controlPlaneProtocol` | `protocolVersion`
 */
export const controlPlaneAt = async (
  url: string,
  { fetch: send = fetch, signal }: { readonly fetch?: typeof fetch; readonly signal?: AbortSignal } = {},
): Promise<ControlPlaneId> => {
  let answer: Response
  try {
    if (isTlsUrl(url)) return await provenKey(url, signal)
    answer = await send(url + routes.controlPlane.path, { redirect: 'error', signal })
  } catch (error) {
    throw unreachable(url, problemOf(error), error)
  }
  // before control planes had keys
  if (answer.status === 404)
    throw otherVersion(
      requests,
      { name: 'this device', version: requests.version },
      { name: `the control plane at ${url}`, version: requests.before[0] },
    )
  if (!answer.ok) throw await errorOf(answer, url)
  const { controlPlaneKey } = (await answer.json().catch(() => ({}))) as { controlPlaneKey?: unknown }
  if (typeof controlPlaneKey !== 'string' || !/^[0-9a-f]{64}$/.test(controlPlaneKey))
    throw new MeshError('controlPlaneProtocol', { problem: `${url}${routes.controlPlane.path} tells no key` })
  return parseControlPlaneId(controlPlaneKey)
}

export interface ContactOptions {
  /** Without a trailing slash. */
  readonly url: string
  readonly controlPlaneKey?: ControlPlaneId
  onFirstContact?(key: ControlPlaneId, url: string): void
  readonly fetch?: typeof fetch
}

export class Contact {
  readonly #options: ContactOptions
  readonly #isTls: boolean
  #key: ControlPlaneId | undefined

  constructor(options: ContactOptions) {
    this.#options = options
    this.#isTls = isTlsUrl(options.url)
    this.#key = options.controlPlaneKey
  }

  /** Of the control plane, where it was given or met. */
  get key(): ControlPlaneId | undefined {
    return this.#key
  }

  /**
   * The key that was given, else that of whoever answers.
   * @throws MeshError `controlPlaneUnreachable` | `controlPlaneProtocol`
   */
  async meet(signal?: AbortSignal): Promise<ControlPlaneId> {
    if (this.#key !== undefined) return this.#key
    const { url, fetch: send, onFirstContact } = this.#options
    const found = await controlPlaneAt(url, { fetch: send, signal })
    if (this.#key === undefined) {
      this.#key = found
      onFirstContact?.(found, url)
    }
    return this.#key
  }

  /** For requests to it: over TLS to the holder of the key, where that is known, else as programs do it. */
  get fetch(): typeof fetch {
    if (this.#isTls && this.#key !== undefined) return pinnedFetch(this.#key)
    return this.#options.fetch ?? fetch
  }

  /** How `http.request` connects, where that matters: nothing is sent before the key is proven. */
  get createConnection(): typeof createConnection | undefined {
    const [{ url }, key] = [this.#options, this.#key]
    if (!this.#isTls || key === undefined) return undefined
    return ((_: unknown, opened: Parameters<typeof connectPinned>[2]) =>
      void connectPinned(url, key, opened)) as unknown as typeof createConnection
  }
}
