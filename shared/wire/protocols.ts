/** libp2p protocol ids. A change to what is sent under one needs a new version. */
export const protocols = {
  /** Exchange of membership certificates; nothing else is served on a connection before it succeeded. */
  gate: '/meshnet/gate/2.0.0',
  /** The newest revocation list of a pool, from who has it to who has not; members only. */
  revocations: '/meshnet/revocations/1.0.0',
  /** A member asks the agent of an admin to renew its certificate; members only. */
  renewal: '/meshnet/renewal/1.0.0',
  /** Frames between two ranks of a ring: tensors and control messages, in order. */
  ring: '/meshnet/ring/2.0.0',
  /** To a relay that serves some pools only: membership of one of them, before it reserves a slot or connects to anybody. */
  relayProof: '/meshnet/relay-proof/1.0.0',
  /** Between members: which control plane serves the pool, and where it is. 1.0.0 told addresses alone. */
  controlPlane: '/meshnet/control-plane/2.0.0',
} as const
