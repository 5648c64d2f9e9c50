/** Factors of queries by position. */
import type { AttentionSpec, ModelSpec } from '../model/architecture/model-spec.ts'

export type Temperature = NonNullable<AttentionSpec['temperature']>

export const sameTemperature = (one: Temperature, other: Temperature): boolean =>
  one.floor === other.floor && one.coefficient === other.coefficient && one.offset === other.offset

/** The different ones of a model. */
export const temperaturesOf = ({ kinds }: Pick<ModelSpec, 'kinds'>): Temperature[] =>
  kinds
    .flatMap(({ mixer }) => (mixer.kind === 'attention' && mixer.temperature ? [mixer.temperature] : []))
    .filter((one, index, all) => all.findIndex((other) => sameTemperature(one, other)) === index)

/** Factor of the queries at a position. */
export const temperatureAt = ({ floor, coefficient, offset }: Temperature, position: number): number =>
  1 + coefficient * Math.log(1 + Math.floor((position + offset) / floor))
