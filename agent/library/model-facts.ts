/** What is said of a model. Apart from who finds it out: that loads what computes, which a relay's host has not. */
import { Type } from 'typebox'
import { Count } from '../../shared/schema/common.ts'

export const ModelFacts = Type.Object({
  family: Type.String({ description: 'as docs/models.md names it' }),
  weights: Type.Integer({ minimum: 0, description: 'numbers in its matrices' }),
  layers: Count,
  hidden: Count,
  vocab: Count,
  context: Type.Integer({ minimum: 0, description: 'tokens' }),
  weightBytes: Type.Integer({ minimum: 0, description: 'of its files of weights' }),
})
export type ModelFacts = Type.Static<typeof ModelFacts>
