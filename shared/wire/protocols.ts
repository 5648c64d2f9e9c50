/**
 * What is spoken between programs of Mesh, and in which version. A change to what is sent under a version needs the
 * next one, and the one before goes to `before`: who speaks that is told so in words that it reads
 * (`other-version.ts`). A newer version knows those before it and not the other way, so the newer side tells both.
 */

export interface Protocol {
  /** As people read it: "speaks version 1 of {what}". */
  readonly what: string
  readonly version: string
  /** Versions that were spoken once, the newest first. */
  readonly before: readonly string[]
  /** The form in which versions before hear that they are refused: CBOR {ok: false, error}, {error}, or nothing. */
  readonly refusal: 'verdict' | 'error' | 'none'
}

/** Between agents, and between agent and relay: libp2p protocols. */
export const peerProtocols = {
  /** Exchange of membership certificates; nothing else is served on a connection before it succeeded. */
  gate: { what: 'the gate', version: '2.0.0', before: ['1.0.0'], refusal: 'verdict' },
  /** The newest revocation list of a pool, from who has it to who has not; members only. */
  revocations: { what: 'revocation lists', version: '1.0.0', before: [], refusal: 'none' },
  /** A member asks the agent of an admin to renew its certificate; members only. */
  renewal: { what: 'renewals', version: '1.0.0', before: [], refusal: 'error' },
  /** Frames between two ranks of a ring: tensors and control messages, in order. */
  ring: { what: 'rings', version: '2.0.0', before: ['1.0.0'], refusal: 'error' },
  /**
   * To a relay that serves some pools only: membership of one of them, before it reserves a slot or connects to
   * anybody.
   */
  'relay-proof': { what: 'proofs at relays', version: '1.0.0', before: [], refusal: 'verdict' },
  /** Between members: which control plane serves the pool, and where it is. 1.0.0 told addresses alone. */
  'control-plane': {
    what: 'what members tell of control planes',
    version: '2.0.0',
    before: ['1.0.0'],
    refusal: 'none',
  },
} as const satisfies Record<string, Protocol>

type PeerProtocol = keyof typeof peerProtocols

export const protocolId = (name: string, version: string): string => `/meshnet/${name}/${version}`

const idOf = (name: PeerProtocol): string => protocolId(name, peerProtocols[name].version)

/** libp2p protocol ids of the versions that are spoken. */
export const protocols = {
  gate: idOf('gate'),
  revocations: idOf('revocations'),
  renewal: idOf('renewal'),
  ring: idOf('ring'),
  relayProof: idOf('relay-proof'),
  controlPlane: idOf('control-plane'),
} as const

/** The protocol of an id, whatever version of it that is. */
export const protocolOf = (id: string): { readonly name: string; readonly protocol: Protocol } | undefined => {
  const name = /^\/meshnet\/([a-z-]+)\//.exec(id)?.[1] ?? ''
  return Object.hasOwn(peerProtocols, name) ? { name, protocol: peerProtocols[name as PeerProtocol] } : undefined
}

/**
 * Between devices and control plane: signed requests (header `mesh-protocol`) and the messages on the socket. 1: not
 * for one control plane alone.
 */
export const requests = {
  what: 'requests to a control plane',
  version: '2',
  before: ['1'],
  refusal: 'error',
} as const satisfies Protocol
