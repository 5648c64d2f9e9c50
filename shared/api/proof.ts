/** What a request shows of its sender: the signature of a device with its certificate, or the API key of an app. */
import { isTlsUrl } from '../control-plane-url.ts'
import { headers } from '../headers.ts'
import type { KeyPair } from '../identity/keys.ts'
import { signRequest } from '../identity/request-signature.ts'
import type { Contact } from './contact.ts'
import type { RawCall } from './raw-call.ts'
import type { RouteRecord } from './routes.ts'

/** Who sends: a device, or an app. */
export type Identity =
  | {
      readonly key: KeyPair
      /** Membership certificate to send for a pool, if there is one. */
      readonly certificateOf: (poolId: string) => string | undefined
    }
  | { readonly apiKey: string }

interface ProofOptions {
  readonly identity: Identity
  /** Of the control plane, without a trailing slash. */
  readonly base: string
  readonly contact: Contact
  now(): number
}

/** Apps sign nothing, and where they were given no key to go by they trust whom programs trust. */
const isAnonymous = ({ identity, base }: ProofOptions, route: RouteRecord): boolean =>
  'apiKey' in identity || (route.access === 'open' && !isTlsUrl(base))

/**
 * Headers that a request needs; before the first one the control plane is met.
 * @throws MeshError `controlPlaneUnreachable` | `controlPlaneProtocol`
 */
export const proofOf = async (
  options: ProofOptions,
  route: RouteRecord,
  call: RawCall & { readonly path: string; readonly text: string; readonly signal?: AbortSignal },
): Promise<Record<string, string>> => {
  const { identity, contact, now } = options
  const recipient = isAnonymous(options, route) ? undefined : await contact.meet(call.signal)
  if (route.access === 'open') return {}
  if ('apiKey' in identity) return { [headers.key]: `Bearer ${identity.apiKey}` }
  if (recipient === undefined) throw new Error('a signed request names its control plane')
  // who is no more than a device has no use for the certificate, and needs none to say or ask where a pool is served
  const poolId = route.access === 'device' ? undefined : call.params?.poolId
  const certificate = typeof poolId === 'string' ? identity.certificateOf(poolId) : undefined
  return {
    ...signRequest(identity.key, { method: route.method, path: call.path, body: call.text, recipient }, now()),
    ...(certificate === undefined ? {} : { [headers.certificate]: certificate }),
  }
}
