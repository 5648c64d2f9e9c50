/**
 * Puts an entry last in a map that holds so many: the one that was put longest ago makes room.
 * @param most entries that the map may hold, at least 1
 */
export const putLast = <Key, Value>(map: Map<Key, Value>, key: Key, value: Value, most: number): void => {
  map.delete(key)
  map.set(key, value)
  if (map.size > most) for (const oldest of map.keys()) return void map.delete(oldest)
}
