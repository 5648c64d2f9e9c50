/** How weights are held where nobody says it. */
import type { Quant } from '../../shared/schema/model.ts'
import { isGguf } from '../model/gguf/name.ts'

/** A GGUF file was rounded by who made it: its weights keep their bits. @param otherwise the default of the option */
export const usualQuant = (modelDir: string | undefined, otherwise: Quant): Quant =>
  modelDir !== undefined && isGguf(modelDir) ? 'file' : otherwise
