import assert from 'node:assert/strict'
import { test } from 'node:test'
import { judge, type Judged, reachOf } from './announced-address.ts'

const places = {
  public: [
    '93.184.216.34',
    '8.8.8.8',
    '172.15.255.255',
    '172.32.0.1',
    '192.167.255.255',
    '100.63.255.255',
    '100.128.0.1',
    '2606:4700::1111',
    '::ffff:8.8.8.8',
  ],
  private: [
    '10.0.0.1',
    '10.255.255.255',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.0.1',
    '100.64.0.1',
    '100.127.255.255',
    'fc00::1',
    'fd12:3456::1',
    '::ffff:10.1.2.3',
  ],
  never: [
    '127.0.0.1',
    '127.8.8.8',
    '::1',
    '::ffff:127.0.0.1',
    '0.0.0.0',
    '0.1.2.3',
    '::',
    '169.254.1.1',
    '169.254.169.254',
    '::ffff:169.254.169.254',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    '224.0.0.1',
    '239.1.1.1',
    'ff02::1',
    '255.255.255.255',
    '240.0.0.1',
    '192.0.0.192',
    '192.0.2.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    'fd00:ec2::254',
    'fd00:0ec2:0:0::254',
    'fd20:ce::254',
    'fd00:42::42',
    '100.100.100.200',
    '168.63.129.16',
    '::ffff:168.63.129.16',
    // IPv4 in other clothes
    '64:ff9b::7f00:1',
    '64:ff9b::a00:1',
    '64:ff9b:1::1',
    '2002:7f00:1::1',
    '2002:a00:1::1',
    '2001::1',
    '::7f00:1',
    '::10.0.0.1',
    '::ffff:0:127.0.0.1',
    '100::1',
    '2001:db8::1',
    '4000::1',
    '',
    '0x08.8.8.8',
    '010.8.8.8',
    'localhost',
    'example.com',
    '1.2.3',
    '1.2.3.4.5',
    '127.0.0.1:80',
    '[::1]',
  ],
} as const

for (const [reach, addresses] of Object.entries(places)) {
  test(`address: ${reach}`, () => {
    for (const address of addresses) assert.equal(reachOf(address), reach, address)
  })
}

const names: Readonly<Record<string, readonly string[]>> = {
  'plane.example': ['93.184.216.34'],
  'two.example': ['93.184.216.34', '2606:4700::1111', '8.8.8.8'],
  'desktop.local': ['192.168.1.20'],
  'rebind.example': ['93.184.216.34', '127.0.0.1'],
  'inside.example': ['93.184.216.34', '10.0.0.1'],
  'cloud.example': ['169.254.169.254'],
  'empty.example': [],
}
const resolve = (host: string): Promise<readonly string[]> =>
  host in names ? Promise.resolve(names[host]) : Promise.reject(new Error('ENOTFOUND'))

const judged = (url: string, privateWelcome = false): Promise<Judged> => judge({ url, privateWelcome }, resolve)
const urlsOf = async (url: string, privateWelcome = false): Promise<readonly string[]> => {
  const result = await judged(url, privateWelcome)
  return 'urls' in result ? result.urls : []
}

test('announced: what is dialled is an address that was judged, and no name', async () => {
  assert.deepEqual(await urlsOf('https://plane.example:8080'), ['https://93.184.216.34:8080'])
  assert.deepEqual(await urlsOf('https://two.example'), ['https://93.184.216.34', 'https://[2606:4700::1111]'])
  assert.deepEqual(await urlsOf('https://[2606:4700::1111]:9/'), ['https://[2606:4700::1111]:9'])
  assert.deepEqual(await urlsOf('https://134744072:8080'), ['https://8.8.8.8:8080'])
})

test('announced: an address as long as any is read, one longer is not', async () => {
  const name = (length: number): string => `https://${'a.'.repeat(200)}`.slice(0, length - 1) + 'b'
  assert.match(JSON.stringify(await judged(name(300))), /nobody knows that name/)
  assert.match(JSON.stringify(await judged(name(301))), /no address of the form/)
})

test('announced: private networks are for pools that are on one', async () => {
  for (const url of ['https://192.168.1.20:8080', 'https://desktop.local:8080']) {
    assert.deepEqual(await urlsOf(url, true), ['https://192.168.1.20:8080'])
    assert.match(JSON.stringify(await judged(url)), /private network/)
  }
  assert.match(JSON.stringify(await judged('https://inside.example')), /private network/)
  assert.equal((await urlsOf('https://inside.example', true)).length, 2)
})

for (const url of [
  'https://127.0.0.1:8080',
  'https://localhost:8080',
  'https://2130706433:8080',
  'https://0x7f.1',
  'https://[::1]:8080',
  'https://[::ffff:7f00:1]:8080',
  'https://0:8080',
  'https://169.254.169.254',
  'https://rebind.example',
  'https://cloud.example',
  'https://empty.example',
  'https://nobody.example',
  'http://93.184.216.34:8080',
  'http://192.168.1.20:8080',
  'ws://93.184.216.34',
  'file:///etc/passwd',
  'ftp://93.184.216.34',
  'https://93.184.216.34/admin?do=it',
  'https://93.184.216.34/admin',
  'https://93.184.216.34/#x',
  'https://user@93.184.216.34',
  'https://:pass@93.184.216.34',
  'https://',
  'https://exa mple',
  '',
  `https://93.184.216.34:8080${'/'.repeat(300)}`,
  'https://93.184.216.34:99999',
]) {
  test(`announced: refused: ${url.slice(0, 60)}`, async () => {
    assert.ok('problem' in (await judged(url, true)))
  })
}
