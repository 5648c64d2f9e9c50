export type PartName = 'relay' | 'control-plane'
export const parts: Readonly<Record<PartName, { readonly folder: string; readonly libraries: readonly string[] }>>
export const librariesOf: (names: readonly PartName[]) => string[]
