"""HRNet for top-down pose, written the usual way in plain torch: what posebook's network is timed against.

Entries of the state_dict are those of the official release, so `to_official_state_dict` of an estimator loads into it.
"""
import torch
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        residual = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += residual
        return self.relu(out)


class Bottleneck(nn.Module):
    def __init__(self, in_channels, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if in_channels != channels * 4:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, channels * 4, 1, bias=False),
                                            nn.BatchNorm2d(channels * 4))

    def forward(self, x):
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += residual
        return self.relu(out)


def down(in_channels, out_channels, relu):
    layers = [nn.Conv2d(in_channels, out_channels, 3, 2, 1, bias=False), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Module(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*[BasicBlock(c) for _ in range(4)]) for c in channels)
        self.fuse_layers = nn.ModuleList()
        for i in range(outputs):
            row = nn.ModuleList()
            for j in range(len(channels)):
                if j > i:
                    row.append(nn.Sequential(nn.Conv2d(channels[j], channels[i], 1, bias=False),
                                             nn.BatchNorm2d(channels[i]),
                                             nn.Upsample(scale_factor=2**(j - i), mode='nearest')))
                elif j == i:
                    row.append(None)
                else:
                    steps = [down(channels[j], channels[j], True) for _ in range(i - j - 1)]
                    row.append(nn.Sequential(*steps, down(channels[j], channels[i], False)))
            self.fuse_layers.append(row)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = [branch(x[i]) for i, branch in enumerate(self.branches)]
        fused = []
        for i, row in enumerate(self.fuse_layers):
            y = x[0] if i == 0 else row[0](x[0])
            for j in range(1, len(x)):
                y = y + (x[j] if i == j else row[j](x[j]))
            fused.append(self.relu(y))
        return fused


class PlainHRNet(nn.Module):
    """(B, 3, H, W) -> heatmaps (B, num_joints, H / 4, W / 4)."""

    def __init__(self, width=32, num_joints=17):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *[Bottleneck(256, 64) for _ in range(3)])
        c = [width, width * 2, width * 4, width * 8]
        first = nn.Sequential(nn.Conv2d(256, c[0], 3, 1, 1, bias=False), nn.BatchNorm2d(c[0]), nn.ReLU(inplace=True))
        self.transition1 = nn.ModuleList([first, nn.Sequential(down(256, c[1], True))])
        self.stage2 = nn.Sequential(Module(c[:2], 2))
        self.transition2 = nn.ModuleList([None, None, nn.Sequential(down(c[1], c[2], True))])
        self.stage3 = nn.Sequential(*[Module(c[:3], 3) for _ in range(4)])
        self.transition3 = nn.ModuleList([None, None, None, nn.Sequential(down(c[2], c[3], True))])
        self.stage4 = nn.Sequential(Module(c, 4), Module(c, 4), Module(c, 1))
        self.final_layer = nn.Conv2d(width, num_joints, 1)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        maps = self.stage2([path(x) for path in self.transition1])
        maps = self.stage3([*maps, self.transition2[2](maps[-1])])
        maps = self.stage4([*maps, self.transition3[3](maps[-1])])
        return self.final_layer(maps[0])


def set_used_norms(model):
    """Statistics that a trained network might have, so that leaving a norm out would be noticed."""
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, .1)
            m.running_var.uniform_(.5, 1.5)
            nn.init.uniform_(m.weight, .1, .6)
            nn.init.normal_(m.bias, 0, .1)
    return model.eval().requires_grad_(False)


if __name__ == '__main__':
    print(sum(p.numel() for p in PlainHRNet().parameters()), PlainHRNet().eval()(torch.zeros(1, 3, 256, 192)).shape)
