/** What the agent asks of a compute process that holds links to the other ranks (`agent/carrier/`), beside commands. */
import type { CollectiveSettings } from '../../collective/chooser.ts'
import type { StepInput } from '../engine.ts'

/** `forget` and `break` are not answered, and reach a step that runs. */
export const linkRequests = { listen: 'listen', connect: 'connect', probe: 'probe', step: 'step', leave: 'leave', forget: 'forget', break: 'break' } as const
export type LinkRequest = keyof typeof linkRequests

/** A whole step; the embedded rows are in `Buffers.hidden`. */
export interface LinkedStep {
  readonly input: StepInput
  readonly settings: CollectiveSettings
}
