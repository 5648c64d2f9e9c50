/** What counts as a refusal, and what as a fault of ours. */
import { MeshError } from '../../shared/errors.ts'

/** @returns `taken` when nothing was thrown, else the code of the refusal; @throws what is no refusal */
export const outcomeOf = async (act: () => unknown): Promise<string> => {
  try {
    await act()
    return 'taken'
  } catch (error) {
    if (error instanceof MeshError && error.code !== 'internal') return error.code
    throw error
  }
}
