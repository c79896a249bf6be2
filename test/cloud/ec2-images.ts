/**
 * Machine images (AMIs) that instances are launched from.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
 */
import { listed, type Xml } from '../../src/demo/ec2-xml.ts';
import { type WireFailure, wireFailure } from '../../src/demo/wire-failure.ts';

export interface Image {
  readonly name: string;
  readonly description?: string;
  /** The account of its owner. */
  readonly owner: string;
  /** `Linux/UNIX` unless given. */
  readonly platform?: string;
}

/** Answers what the product asks: the filter `image-id`, without pages. */
export function imageOperations(
  images: ReadonlyMap<string, Image>,
): Readonly<Record<string, (form: URLSearchParams) => Xml | WireFailure>> {
  return {
    DescribeImages(form) {
      if (form.get('Filter.1.Name') !== 'image-id') {
        return wireFailure('InvalidParameterValue', 'The stand-in knows the filter image-id alone');
      }
      const ids = listed(form, 'Filter.1.Value');
      return {
        imagesSet: [...images]
          .filter(([id]) => ids.includes(id))
          .map(([id, { name, description, owner, platform = 'Linux/UNIX' }]) => ({
            imageId: id,
            imageState: 'available',
            imageOwnerId: owner,
            isPublic: true,
            name,
            description,
            platformDetails: platform,
          })),
      };
    },
  };
}
