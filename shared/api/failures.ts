/** What went wrong between a program and the control plane, as people are told. */
import { MeshError, problemOf } from '../errors.ts'
import { isLoopbackUrl } from '../control-plane-url.ts'
import { headers } from '../headers.ts'
import { type KeyPair, toHex } from '../identity/keys.ts'
import { shortId } from '../ids.ts'
import { otherVersion, versionIn } from '../wire/other-version.ts'
import { requests } from '../wire/protocols.ts'

/** Where to look for a control plane that does not answer: here, or on the machine that hosts the group. */
const whereToLook = (url: string): { readonly look?: string } => {
  if (!URL.canParse(url) || isLoopbackUrl(url)) return {}
  const { hostname: host } = new URL(url)
  return {
    look:
      `mesh up must run on the machine at ${host}, and this one must reach it; where it has another address now, ` +
      'name that with --control-plane URL',
  }
}

/** Nobody answers at `url`. */
export const unreachable = (url: string, problem: string, cause?: unknown): MeshError =>
  new MeshError('controlPlaneUnreachable', { url, problem, ...whereToLook(url) }, cause)

/** What a failure of `fetch` is at the bottom, where that is one of ours. */
const meshErrorIn = (error: unknown): MeshError | undefined => {
  if (error instanceof MeshError) return error
  return error instanceof Error && error.cause !== undefined ? meshErrorIn(error.cause) : undefined
}

/** Whether TLS as programs do it failed because nobody vouches for the control plane. */
const untrusted = (url: string, error: unknown): MeshError | undefined => {
  const problem = problemOf(error)
  const { code } = (error instanceof Error ? (error.cause ?? error) : {}) as { code?: unknown }
  if (!/^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERR_TLS_CERT_)/.test(String(code))) return undefined
  return new MeshError('controlPlaneUntrusted', { url, problem }, error)
}

/** What a call that got no answer failed with. @param url where the control plane was expected */
export const failureOf = (url: string, error: unknown): MeshError =>
  meshErrorIn(error) ?? untrusted(url, error) ?? unreachable(url, problemOf(error), error)

/** What a control plane, or something else, answered instead of what was asked for. */
export const errorOf = async (answer: Response, url: string): Promise<MeshError> => {
  const text = await answer.text().catch(() => '')
  try {
    const { error } = JSON.parse(text) as {
      error?: { code?: unknown; message?: unknown; fields?: Record<string, string | number> }
    }
    if (typeof error?.code === 'string' && typeof error.message === 'string')
      return MeshError.fromReport({ code: error.code, message: error.message, fields: error.fields })
  } catch {
    // not ours: fall through
  }
  return new MeshError('controlPlaneProtocol', { problem: `HTTP ${answer.status} from ${url}: ${text.slice(0, 200)}` })
}

/**
 * Why a signed request was refused, where the control plane speaks another version; before there were versions in
 * answers, it did not know the signature.
 */
const spokenThere = (answer: Response, failure: MeshError, key: KeyPair): MeshError | undefined => {
  if (failure.code === 'protocolVersion') return undefined
  const text = answer.headers.get(headers.protocol)
  const version =
    text === null ? (failure.code === 'signatureInvalid' ? requests.before.at(-1) : undefined) : versionIn(text)
  if (version === undefined || version === requests.version) return undefined
  return otherVersion(
    requests,
    { name: `device ${shortId(toHex(key.publicKey))}`, version: requests.version },
    { name: 'the control plane', version },
  )
}

/** Why it was refused. @param key that signed the request; absent: none did */
export const refusalOf = async (answer: Response, base: string, key: KeyPair | undefined): Promise<MeshError> => {
  const failure = await errorOf(answer, base)
  return (key === undefined ? undefined : spokenThere(answer, failure, key)) ?? failure
}
