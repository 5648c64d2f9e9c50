/** What a device and a relay that serves some pools only say to each other. */
import { limits } from '../limits.ts'
import { RelayAnswer, RelayProof, RevocationMessage } from './envelope.ts'

export const relayForms = {
  proof: { schema: RelayProof, bytes: limits.gateBytes },
  answer: { schema: RelayAnswer, bytes: limits.gateBytes },
  /** Sent by the device when the list that it holds is newer. */
  list: { schema: RevocationMessage, bytes: limits.revocationBytes + limits.gateBytes },
} as const
