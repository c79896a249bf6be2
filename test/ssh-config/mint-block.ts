import { createHash } from 'node:crypto';

/** A block in the form that the Mint CLI writes into an ssh config. */
export function mintBlock(vm: string, address = '203.0.113.7'): string {
  const inner = `Host mint-${vm}\n    HostName ${address}\n    User ubuntu\n    Port 41122\n    IdentitiesOnly yes\n`;
  const sum = createHash('sha256').update(inner).digest('hex');
  return `# mint:begin ${vm}\n${inner}# mint:end ${vm}\n# mint:checksum:${sum}\n`;
}
