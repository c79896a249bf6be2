/**
 * The user that a VM's image comes with. EC2 does not return it, but each distribution uses one name:
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/managing-users.html and the distributions' own pages.
 */
import type { ImageDescription } from '../aws/requests.ts';

/**
 * Words in an image's name, description or billing product, and the user of such images. The first match decides: a
 * Bitnami image on Debian has Bitnami's user.
 */
const users: readonly (readonly [pattern: RegExp, user: string])[] = [
  [/bitnami/, 'bitnami'],
  [/ubuntu/, 'ubuntu'],
  [/\bdebian\b/, 'admin'],
  [/\bal20\d\d\b|\bamzn|amazon.?linux|amazon-eks|bottlerocket/, 'ec2-user'],
  [/\brocky\b/, 'rocky'],
  [/\balma(?:linux)?\b/, 'ec2-user'],
  [/centos.?stream.?(?:9|[1-9]\d)/, 'ec2-user'],
  [/centos/, 'centos'],
  [/\bfedora\b/, 'fedora'],
  [/\brhel\b|red.?hat|\boracle.?linux\b|\bol[789]\b/, 'ec2-user'],
  [/\bsuse\b|\bsles\b|opensuse/, 'ec2-user'],
  [/freebsd/, 'ec2-user'],
  [/\barch\b|archlinux|arch-linux/, 'arch'],
  [/\bkali\b/, 'kali'],
  [/\balpine\b/, 'alpine'],
  [/flatcar|\bcoreos\b/, 'core'],
  [/nixos/, 'root'],
];

/** Accounts that publish images of one distribution only, for images whose name does not show it. */
const owners: Readonly<Record<string, string | undefined>> = {
  '099720109477': 'ubuntu', // Canonical
  '136693071363': 'admin', // Debian
  '137112412989': 'ec2-user', // Amazon Linux
  '309956199498': 'ec2-user', // Red Hat
  '013907871322': 'ec2-user', // SUSE
  '125523088429': 'fedora', // Fedora; CentOS is found by its name
  '792107900819': 'rocky', // Rocky Linux
  '764336703387': 'ec2-user', // AlmaLinux
  '131827586825': 'ec2-user', // Oracle Linux
  '427812963091': 'root', // NixOS
};

/** All users that `imageUser` may return. */
export const imageUsers: readonly string[] = [
  ...new Set([
    ...users.map(([, user]) => user),
    ...Object.values(owners).filter((user) => user !== undefined),
  ]),
];

/**
 * Determines the usual user of an image by its name, then its owner, then its description and platform. Anyone can
 * write these texts, so only users of the table are returned.
 *
 * @returns undefined if no rule matches
 */
export function imageUser(image: ImageDescription): string | undefined {
  const { name = '', description = '', owner = '', platform = '' } = image;
  const byOwner = Object.hasOwn(owners, owner) ? owners[owner] : undefined;
  return byText(name) ?? byOwner ?? byText(description) ?? byText(platform);
}

/** EC2 accepts names and descriptions of up to 255 characters. */
function byText(text: string): string | undefined {
  const lower = text.slice(0, 255).toLowerCase();
  return users.find(([pattern]) => pattern.test(lower))?.[1];
}

/** For messages that list the users to try. */
export const usualUsers = 'ec2-user (Amazon Linux, RHEL, SUSE), ubuntu (Ubuntu), admin (Debian)';
