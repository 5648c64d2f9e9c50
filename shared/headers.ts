/** Headers of requests to the control plane, and of its answers. */

/** Header names; lower case, as Node gives them. */
export const headers = {
  device: 'mesh-device',
  /** Key of the control plane that a signed request is for. */
  recipient: 'mesh-recipient',
  time: 'mesh-time',
  nonce: 'mesh-nonce',
  /** SHA-256 of the body in hex: known, and covered by the signature, before the body is read. */
  body: 'mesh-body',
  signature: 'mesh-signature',
  /**
   * Version of requests and of messages on the socket (`requests` in `wire/protocols.ts`): in signed requests, and in
   * every answer.
   */
  protocol: 'mesh-protocol',
  certificate: 'mesh-certificate',
  /** `waiting`: events shall also tell what a job waits for. */
  events: 'mesh-events',
  /** `Bearer ` and an API key. */
  key: 'authorization',
} as const
