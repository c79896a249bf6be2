/**
 * What GetConsoleOutput returns for an instance: the serial console of a machine that boots for the first time, in the
 * forms that real images print.
 *
 * cloud-init's `write-ssh-key-fingerprints` prints two blocks, the fingerprints through `logger -s` and the keys with
 * `cat`. The prefix of each line depends on the image: nothing, the kernel's time and the unit's name
 * (`journal+console`), syslog's priority, date and tag, or the tag alone.
 */
import { createHash } from 'node:crypto';

/**
 * - `plain`: bare lines that end with LF
 * - `crlf`: bare lines that end with CR LF, as a serial terminal writes them
 * - `kernel`: `[   18.370112] cloud-init[1023]: ` before each line
 * - `syslog`: `<14>Jan  1 00:00:18 cloud-init: ` before each line
 * - `ec2`: `ec2: ` before each line, as Amazon Linux 2
 * - `escapes`: colour, cursor and title sequences before and behind each line
 * - `late`: CR LF, after 60 KB of other lines
 * - `noisy`: firmware, boot loader, kernel and systemd before and behind; the fingerprints in the form of `syslog`, the
 *   keys bare, with CR LF and lines of the kernel between them
 */
export const consoleForms = ['plain', 'crlf', 'kernel', 'syslog', 'ec2', 'escapes', 'late', 'noisy'] as const;
export type ConsoleForm = (typeof consoleForms)[number];

export interface ConsoleOptions {
  readonly form?: ConsoleForm;
  /** Leaves out the block of fingerprints. */
  readonly withoutFingerprints?: boolean;
}

/**
 * The console of a first boot.
 * @param hostKeys lines of public host keys, `<type> <base64>`; all that the machine has
 */
export function bootConsole(
  hostKeys: readonly string[],
  { form, withoutFingerprints = false }: ConsoleOptions = {},
): string {
  const fingerprints = withoutFingerprints ? [] : fingerprintBlock(hostKeys);
  const keys = keyBlock(hostKeys);
  const lines = [...fingerprints, ...keys];
  const wanted: ConsoleForm = form ?? 'noisy';
  switch (wanted) {
    case 'plain':
      return text([...kernelStart, ...lines, loginPrompt], '\n');
    case 'crlf':
      return text([...kernelStart, ...lines, loginPrompt]);
    case 'kernel':
      return text([
        ...kernelStart,
        ...lines.map((line, at) => `${kernelTime(18.37 + at / 1000)} cloud-init[1023]: ${line}`),
        loginPrompt,
      ]);
    case 'syslog':
      return text([...kernelStart, ...lines.map((line) => syslogPrefix + line), loginPrompt]);
    case 'ec2':
      return text([...kernelStart, ...lines.map((line) => `ec2: ${line}`), loginPrompt]);
    case 'escapes':
      return text([
        ...kernelStart,
        ...lines.map((line) => `\x1b[0;32m\x1b[6n${line}\x1b[0m\x1b]0;boot\x07`),
        loginPrompt,
      ]);
    case 'late':
      return text([...kernelStart, ...noise(60 * 1024, false), ...lines, loginPrompt]);
    case 'noisy':
      return text([
        ...firmware,
        ...kernelStart,
        ...systemd,
        ...fingerprints.map((line) => syslogPrefix + line),
        ...keys.flatMap((line, at) => [
          line,
          `${kernelTime(21 + at)} audit: type=1400 audit(1.${at}:7): apparmor="STATUS"`,
        ]),
        `${kernelTime(30.5)} cloud-init[1044]: Cloud-init v. 24.4 finished at Thu, 01 Jan 2026 00:00:30 +0000. Up 30.49 seconds`,
        '',
        loginPrompt,
      ]);
  }
}

/** The console of a machine that has been up for long: its first boot, and with it the keys, has scrolled out. */
export function oldConsole(): string {
  return text(noise(66 * 1024, true));
}

const loginPrompt = 'ip-10-0-0-11 login: ';
const syslogPrefix = '<14>Jan  1 00:00:18 cloud-init: ';

const firmware = [
  '\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001 "UEFI Amazon Elastic Block Store vol0" from PciRoot(0x0)/Pci(0x4,0x0)',
  'BdsDxe: starting Boot0001 "UEFI Amazon Elastic Block Store vol0" from PciRoot(0x0)/Pci(0x4,0x0)',
  '\x1b[0m\x1b[30m\x1b[47mWelcome to GRUB!\x1b[0m',
];

const kernelStart = [
  '[    0.000000] Linux version 6.1.0-28-cloud-amd64 (build@host) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP',
  '[    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-cloud-amd64 root=PARTUUID=ff1c console=tty0 console=ttyS0,115200',
  "[    0.004000] x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'",
];

const systemd = [
  "\x1b[0;1;31mFailed to find module 'autofs4'\x1b[0m",
  '[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39msystemd-journald.service\x1b[0m - Journal Service.',
  '         Starting \x1b[0;1;39mcloud-init.service\x1b[0m - Initial cloud-init job...',
  "[    9.107113] cloud-init[612]: Cloud-init v. 24.4 running 'init' at Thu, 01 Jan 2026 00:00:09 +0000.",
  'ci-info: +++++++++++++++++++++++++++++++++++++++Net device info+++++++++++++++++++++++++++++++++++++++',
  'ci-info: |  ens5  | True |         10.0.0.11          | 255.255.255.0 | global | 06:0a:00:00:00:0b |',
  '[   17.200000] cloud-init[1023]: Generating public/private rsa key pair.',
  "[   17.300000] cloud-init[1023]: The key's randomart image is:",
  '[   17.300000] cloud-init[1023]: +---[RSA 3072]----+',
];

/** Lines of a running machine, of at least so many bytes with their ends. @param hasUsers whether users log in */
function noise(minBytes: number, hasUsers: boolean): string[] {
  const lines: string[] = [];
  for (let bytes = 0, at = 0; bytes < minBytes; at++) {
    const line =
      hasUsers && at % 7 === 0
        ? `[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39msession-${at}.scope\x1b[0m - Session ${at} of User ubuntu.`
        : `${kernelTime(40 + at)} systemd[1]: Started Process Core Dump (PID ${1000 + at}/UID 0).`;
    lines.push(line);
    bytes += line.length + 2;
  }
  return lines;
}

function keyBlock(hostKeys: readonly string[]): string[] {
  return [
    '-----BEGIN SSH HOST KEY KEYS-----',
    ...hostKeys.map((line) => `${line.trim()} root@ip-10-0-0-11`),
    '-----END SSH HOST KEY KEYS-----',
  ];
}

function fingerprintBlock(hostKeys: readonly string[]): string[] {
  return [
    '#############################################################',
    '-----BEGIN SSH HOST KEY FINGERPRINTS-----',
    ...hostKeys.map(fingerprintLine),
    '-----END SSH HOST KEY FINGERPRINTS-----',
    '#############################################################',
  ];
}

/** `256 SHA256:… root@ip-10-0-0-11 (ED25519)`, as `ssh-keygen -l` prints it. */
function fingerprintLine(hostKey: string): string {
  const [type = '', base64 = ''] = hostKey.split(' ');
  const blob = Buffer.from(base64, 'base64');
  const digest = createHash('sha256').update(blob).digest('base64').replace(/=+$/, '');
  const curveBits = /^ecdsa-sha2-nistp(\d+)$/.exec(type)?.[1];
  const name = type === 'ssh-rsa' ? 'RSA' : curveBits === undefined ? 'ED25519' : 'ECDSA';
  const bits = type === 'ssh-rsa' ? rsaBits(blob) : (curveBits ?? '256');
  return `${bits} SHA256:${digest} root@ip-10-0-0-11 (${name})`;
}

/** RFC 4253 section 6.6: the type, the exponent and the modulus, each with its length before it. */
function rsaBits(blob: Buffer): number {
  let at = 0;
  for (let field = 0; field < 2; field++) at += 4 + blob.readUInt32BE(at);
  const modulus = blob.subarray(at + 4, at + 4 + blob.readUInt32BE(at));
  return (modulus[0] === 0 ? modulus.length - 1 : modulus.length) * 8;
}

function kernelTime(seconds: number): string {
  return `[${seconds.toFixed(6).padStart(12)}]`;
}

function text(lines: readonly string[], end = '\r\n'): string {
  return lines.map((line) => line + end).join('');
}
